"""RoIAlign: features of a fixed size from boxes of any size (He 2017, arXiv 1703.06870, section 3).

Each box is divided into a grid of bins. The value of a bin is the mean over a few points spread
evenly in it, each interpolated between four features. Nothing is rounded to the grid of features,
so that small shifts of a box count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import shapes
from cnn_jax.typing import Array


def roi_align(
    features: Array,
    boxes: Array,
    *,
    stride: float,
    size: tuple[int, int],
    sampling_ratio: int = 2,
) -> Array:
    """Pools each box from one feature map.

    The definition is that of torchvision's `ops.roi_align` in its detectors, with sampling_ratio=2
    and aligned=False: a box smaller than one feature counts as one feature large. Points more than
    one feature outside the map count as 0.

    Args:
        features: [H, W, C].
        boxes: [R, 4] as (x1, y1, x2, y2), in pixels of the image. A box with a NaN or an infinity
            gives zeros.
        stride: pixels per feature.
        size: (rows, columns) of the grid of bins.
        sampling_ratio: points per bin along each axis, at least 1.

    Returns:
        [R, rows, columns, C], in the dtype of the features.

    Raises:
        ValueError: if a shape or sampling_ratio is not that above.
    """
    _require_shapes([features], boxes)
    level = jnp.zeros(boxes.shape[0], jnp.int32)
    return _pool([features], [stride], boxes, level, size, sampling_ratio)


def multilevel_roi_align(
    pyramid: Sequence[Array],
    boxes: Array,
    *,
    strides: Sequence[int],
    size: tuple[int, int],
    sampling_ratio: int = 2,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Array:
    """Pools each box from the level of a feature pyramid that suits its size.

    All levels lie end to end in one array, so that a box is pooled once, whatever its level.

    Args:
        pyramid: feature maps [H_i, W_i, C], fine to coarse.
        strides: pixels per feature of each map, each twice the one before.
        canonical_size, canonical_level: see `assign_levels`.
        boxes, size, sampling_ratio: see `roi_align`.

    Returns:
        [R, rows, columns, C].

    Raises:
        ValueError: if there are not as many strides as feature maps, or a shape is not that above.
    """
    if len(pyramid) != len(strides):
        raise ValueError(
            f"multilevel_roi_align got {len(pyramid)} feature maps and {len(strides)} strides: "
            "give one stride per map."
        )
    _require_shapes(pyramid, boxes)
    level = assign_levels(
        boxes,
        strides=strides,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
    )
    return _pool(pyramid, strides, boxes, level, size, sampling_ratio)


def assign_levels(
    boxes: Array,
    *,
    strides: Sequence[int],
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Array:
    """The index of the pyramid level for each box: [R, 4] -> int32 [R], 0 for the finest.

    Lin 2017 (arXiv 1612.03144, equation 1): a box of the canonical size belongs to the canonical
    level (of stride 2^4), one of half that side to the next finer level. Broken boxes get level 0.
    """
    finest = round(np.log2(strides[0]))
    sides = boxes[..., 2:] - boxes[..., :2]
    area = sides[..., 0] * sides[..., 1]
    area = jnp.where(area > 0, area, 1e-12)  # also for NaN
    # torchvision's 1e-6 keeps exact powers of two on their side.
    level = jnp.floor(canonical_level + jnp.log2(jnp.sqrt(area) / canonical_size) + 1e-6)
    return jnp.clip(level - finest, 0, len(strides) - 1).astype(jnp.int32)


def _require_shapes(pyramid: Sequence[Array], boxes: Array) -> None:
    what = "RoIAlign takes features [H, W, C], with the same C on all levels, and boxes [R, 4]"
    with shapes.wanted(what, features=list(pyramid), boxes=boxes) as chex:
        chex.assert_rank(list(pyramid), 3)
        chex.assert_shape(list(pyramid), (None, None, pyramid[0].shape[-1]))
        chex.assert_shape(boxes, (None, 4))


class _Taps(NamedTuple):
    """The features that each bin sums along one axis, and their weights: both [R, bins, taps]."""

    indices: Array
    weight: Array


def _pool(pyramid, strides, boxes, level, size, points) -> Array:
    if points < 1:
        raise ValueError(f"RoIAlign got sampling_ratio={points}: give 1 or more.")
    channels, dtype = pyramid[0].shape[-1], pyramid[0].dtype
    flat = jnp.concatenate([features.reshape(-1, channels) for features in pyramid])
    shapes = np.array([features.shape[:2] for features in pyramid])  # [levels, 2]
    starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))[:-1]])
    height, width, first = (jnp.asarray(v)[level] for v in (shapes[:, 0], shapes[:, 1], starts))

    usable = jnp.isfinite(boxes).all(axis=-1, keepdims=True)
    scale = jnp.asarray([1 / s for s in strides], jnp.float32)[level][:, None]
    boxes = jnp.where(usable, boxes, 0).astype(jnp.float32) * scale
    rows = _taps(boxes[:, 1], boxes[:, 3], height, size[0], points)
    columns = _taps(boxes[:, 0], boxes[:, 2], width, size[1], points)
    row_weight = jnp.where(usable[..., None], rows.weight, 0)

    # Bilinear interpolation is the product of linear ones along the two axes. Summing one pair of
    # taps at a time keeps a single [R, rows, columns, C] in memory instead of sixteen.
    def add(total: Array, pair: Array) -> tuple[Array, None]:
        i, j = pair
        row, column = rows.indices[..., i], columns.indices[..., j]  # [R, rows], [R, columns]
        position = first[:, None, None] + row[:, :, None] * width[:, None, None]
        values = jnp.take(flat, position + column[:, None, :], axis=0, mode="clip")
        weight = row_weight[..., i][:, :, None] * columns.weight[..., j][:, None, :]
        return total + weight[..., None] * values, None

    pairs = np.stack(np.meshgrid(np.arange(2 * points), np.arange(2 * points)), -1)
    total = jnp.zeros((boxes.shape[0], *size, channels), jnp.promote_types(dtype, jnp.float32))
    total, _ = jax.lax.scan(add, total, jnp.asarray(pairs.reshape(-1, 2)), unroll=4)
    return total.astype(dtype)


def _taps(start: Array, end: Array, extent: Array, bins: int, points: int) -> _Taps:
    """The taps of each bin along one axis; each of its points lies between two features."""
    bin_length = jnp.maximum(end - start, 1.0) / bins  # [R]
    within = (jnp.arange(points) + 0.5) / points  # [points], 0..1 within a bin
    at = (jnp.arange(bins)[:, None] + within) * bin_length[:, None, None] + start[:, None, None]
    last = (extent - 1).astype(jnp.float32)[:, None, None]
    counts = (at >= -1) & (at <= last + 1)
    at = jnp.clip(at, 0, last)
    low = jnp.floor(at)
    share = at - low
    index = jnp.concatenate([low, jnp.minimum(low + 1, last)], axis=-1).astype(jnp.int32)
    weight = jnp.concatenate([1 - share, share], axis=-1)
    return _Taps(index, jnp.where(jnp.tile(counts, 2), weight, 0) / points)
