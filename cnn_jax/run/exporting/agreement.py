"""How far what an exported file computes is from what the network computes here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Largest difference of a probability or a score, and of a side of a box as a fraction of the
# image's. Two ways to sum the same float32 numbers differ by 1e-6 or so after softmax.
BOUND = 1e-4
LEAST_RANGE = 0.01  # where all values are nearly equal, a millionth is still allowed
# Share of the detections that may have no counterpart: where two boxes have almost the same score,
# or an overlap is almost the threshold, rounding decides which one is kept.
UNMATCHED = 0.02


class Difference(NamedTuple):
    """The largest difference that was found.

    Attributes:
        largest: of probabilities, or of scores and boxes; infinite for other shapes, or no numbers.
        unmatched: share of the detections without a counterpart.
        values: smallest and largest of the network's probabilities; of detections 0 and 1.
    """

    largest: float
    unmatched: float = 0.0
    values: tuple[float, float] = (0.0, 1.0)

    @property
    def allowed(self) -> float:
        """BOUND, or less if the values are closer together: 1,000 classes have 0.001 each."""
        return BOUND * min(max(self.values[1] - self.values[0], LEAST_RANGE), 1.0)

    @property
    def fine(self) -> bool:
        return self.largest <= self.allowed and self.unmatched <= UNMATCHED

    def __str__(self) -> str:
        beside = f", {self.unmatched:.1%} of the detections without a counterpart"
        values = f", of values from {self.values[0]:.2g} to {self.values[1]:.2g}"
        return (
            f"{self.largest:.2g}{values if self.values != (0.0, 1.0) else ''}"
            f"{beside if self.unmatched else ''}"
        )


def differ(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], boxed: tuple[int, int] | None
) -> Difference:
    """Compares outputs of the network with those of the exported file.

    Args:
        ours, theirs: the outputs, in the same order.
        boxed: (height, width) of the image if they are boxes, scores and labels.
    """
    ours, theirs = ([np.asarray(each) for each in outputs] for outputs in (ours, theirs))
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return Difference(np.inf)
    if boxed is None:
        largest = max(_largest(a, b) for a, b in zip(ours, theirs, strict=True))
        return Difference(largest, values=_values(ours[0]))
    return _of_detections(ours, theirs, boxed)


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    if not a.size:
        return 0.0
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    return float(np.abs(a.astype(np.float64) - b).max())


def _values(array: np.ndarray) -> tuple[float, float]:
    return (float(array.min()), float(array.max())) if array.size else (0.0, 1.0)


def _of_detections(ours, theirs, boxed: tuple[int, int]) -> Difference:
    """Each detection beside the nearest one of its image and class."""
    height, width = boxed
    sides = np.array([width, height, width, height], np.float64)
    largest, missing, total = 0.0, 0, 0
    for one, two in ((ours, theirs), (theirs, ours)):
        for boxes, scores, labels, boxes2, scores2, labels2 in zip(*one, *two, strict=True):
            near = np.abs(boxes[:, None] / sides - boxes2[None] / sides).max(-1)  # [M, M]
            near = np.maximum(near, np.abs(scores[:, None] - scores2[None]))
            near = np.where(labels[:, None] == labels2[None], near, np.inf).min(1)
            near = near[labels >= 0]
            near = np.where(np.isnan(near), np.inf, near)
            found = near <= BOUND
            total, missing = total + near.size, missing + int((~found).sum())
            largest = max(largest, near[found].max(initial=0.0))
    return Difference(float(largest), missing / max(total, 1))
