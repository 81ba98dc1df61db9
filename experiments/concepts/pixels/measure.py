"""How neighbouring pixels agree, and what a shift does to distances between images."""

from typing import Any

import numpy as np

from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, on_canvas
from experiments.concepts.pixels.text import APART, SHIFTS

SIDE = 12  # of the canvas on which a digit of 8x8 can move by two pixels


def measure(effort: Effort) -> dict[str, Any]:
    train, test = (on_canvas(digits(part), SIDE) for part in ("train", "test"))
    seen, labels = _flat(train["image"]), train["label"]
    accuracy, to_itself, to_another = [], [], []
    still = _flat(test["image"])
    for shift in SHIFTS:
        moved = _flat(np.roll(test["image"], shift, 2))  # to the right
        far = _distances(moved, seen)
        accuracy.append((labels[far.argmin(1)] == test["label"]).mean())
        to_itself.append(np.linalg.norm(moved - still, axis=1))
    others = np.where(labels[None] == test["label"][:, None], np.inf, _distances(still, seen))
    to_another = others.min(1)
    image = digits("test")["image"][..., 0]
    order = np.random.default_rng(0).permutation(64)
    mixed = image.reshape(-1, 64)[:, order].reshape(image.shape)
    return {
        "accuracy": accuracy,
        "to_itself": [each.mean() for each in to_itself],
        "to_another": to_another.mean(),
        "farther": [(each > to_another).mean() for each in to_itself],
        "alike": [_correlation(image, apart) for apart in APART],
        "alike_mixed": [_correlation(mixed, apart) for apart in APART],
        "stroke": _runs(image > 0.5),
        "images": [image[0], mixed[0]],
        "moved": [test["image"][0, ..., 0], np.roll(test["image"][0, ..., 0], 1, 1)],
        "numbers": np.round(16 * image[0]).astype(int),
    }


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance of each row of `a` to each of `b`."""
    square = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]
    return np.sqrt(np.maximum(square, 0))


def _correlation(images: np.ndarray, apart: int) -> float:
    """Of pixels in one row that are so far apart, over all images."""
    return float(np.corrcoef(images[:, :, :-apart].ravel(), images[:, :, apart:].ravel())[0, 1])


def _runs(bright: np.ndarray) -> float:
    """The mean length of runs of True along the rows of [N, H, W]."""
    starts = bright & ~np.pad(bright, ((0, 0), (0, 0), (1, 0)))[..., :-1]
    return float(bright.sum() / starts.sum())
