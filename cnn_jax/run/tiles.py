"""Segments images of any size, tile by tile."""

import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Apply = Callable[[np.ndarray], np.ndarray]  # images [1, *tile, C] -> logits [1, *space, K]


def segment(
    apply: Apply, image: np.ndarray, *, tile: tuple[int, int], overlap: tuple[int, int]
) -> np.ndarray:
    """Class probabilities of every pixel of an image, tile by tile.

    Where tiles overlap, their probabilities are averaged, with less weight towards their borders.
    Beyond its border the image is reflected, as in section 2 of the U-Net paper
    (arXiv:1505.04597), whose network predicts only the middle of its tile.

    Args:
        apply: the network; its output may be smaller than its input.
        image: float32 [H, W, C], normalised, of any size.
        tile: (height, width) of the network's input.
        overlap: pixels that neighbouring outputs share, at least, vertically and horizontally.

    Returns:
        float32 [H, W, K].

    Raises:
        ValueError: the overlap is not smaller than the output.
    """
    blank = np.zeros((1, *tile, image.shape[-1]), np.float32)
    out = jax.eval_shape(apply, blank).shape[1:3]
    if any(o < 0 or o >= n for o, n in zip(overlap, out, strict=True)):
        raise ValueError(
            f"An overlap of {overlap} does not fit tiles that give {out} pixels. Lower it."
        )
    space = image.shape[:2]
    covered = [max(have, n) for have, n in zip(space, out, strict=True)]
    margin = [(t - n) // 2 for t, n in zip(tile, out, strict=True)]
    pads = [(m, m + c - s) for m, c, s in zip(margin, covered, space, strict=True)]
    mode: Literal["reflect", "edge"] = "reflect" if min(space) > 1 else "edge"
    padded = np.pad(image, [*pads, (0, 0)], mode=mode)
    starts = [_starts(c, n, n - o) for c, n, o in zip(covered, out, overlap, strict=True)]
    ramps = [_ramp(n, o) for n, o in zip(out, overlap, strict=True)]
    weight = (ramps[0][:, None] * ramps[1])[..., None]  # [h, w, 1]
    total, weights = None, np.zeros((*covered, 1), np.float32)
    for top in starts[0]:
        for left in starts[1]:
            part = padded[None, top : top + tile[0], left : left + tile[1]]
            shares = np.asarray(jax.nn.softmax(jnp.asarray(apply(part), jnp.float32)))[0]
            if total is None:
                total = np.zeros((*covered, shares.shape[-1]), np.float32)
            window = (slice(top, top + out[0]), slice(left, left + out[1]))
            total[window] += weight * shares
            weights[window] += weight
    return (total / weights)[: space[0], : space[1]]


def sides(tile: Any) -> tuple[int, int]:
    """(height, width) of a tile, of these or of one number for both.

    Raises:
        ValueError: it is neither, or a side is below one pixel.
    """
    pair = (tile, tile) if isinstance(tile, numbers.Integral) else tile
    try:
        height, width = map(operator.index, pair)
    except (TypeError, ValueError):
        height = width = 0
    if isinstance(tile, bool) or min(height, width) < 1:
        raise ValueError(f"tile={tile!r}: wanted a number of pixels, or (height, width).")
    return height, width


def _starts(length: int, size: int, step: int) -> list[int]:
    """Starts of windows of `size` that cover `length`, the last one flush with its end."""
    return [*range(0, length - size, step), length - size]


def _ramp(size: int, overlap: int) -> np.ndarray:
    """Weights [size] in (0, 1] that rise from both ends over the overlap."""
    distance = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))
    return np.minimum(distance / (overlap + 1), 1).astype(np.float32)


def shares(label: np.ndarray, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """The classes of an image and the share of its pixels that each has, the largest first."""
    counts = np.bincount(label.ravel(), minlength=len(class_names)) / label.size
    return [(class_names[k], float(counts[k])) for k in counts.argsort()[::-1] if counts[k] > 0]
