"""Intervals of indices along one axis of an array, and their union."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

EMPTY_LOW, EMPTY_HIGH = np.iinfo(np.int64).max, np.int64(-1)  # depends on nothing: padding


class Interval(NamedTuple):
    """The inputs, low..high inclusive, that each index of a value depends on.

    Attributes:
        axis: axis of the value along which they differ; None if they are the same for all indices.
        low, high: int64 [n], or [1] if axis is None.
        cut: bool, likewise: whether padding replaces some of them, near a border: by zeros, or by
            other inputs, as circular and reflecting padding do.
    """

    axis: int | None
    low: np.ndarray
    high: np.ndarray
    cut: np.ndarray

    def at(self, indices: np.ndarray, seen: np.ndarray) -> "Interval":
        """The interval of a value whose index i unites ours at indices[i, k], if seen[i, k]."""
        inside = (indices >= 0) & (indices < len(self.low))
        indices = np.clip(indices, 0, len(self.low) - 1)
        low = np.where(seen & inside, self.low[indices], EMPTY_LOW).min(-1)
        high = np.where(seen & inside, self.high[indices], EMPTY_HIGH).max(-1)
        cut = (seen & (self.cut[indices] | ~inside)).any(-1)
        return Interval(self.axis, low, high, cut)

    def everywhere(self) -> "Interval":
        """The interval of a value that mixes the whole axis."""
        low, high = self.low.min(keepdims=True), self.high.max(keepdims=True)
        return Interval(None, low, high, np.array([self.cut.any()]))

    def moved(self, axis: int | None) -> "Interval":
        return self._replace(axis=axis)


Known = Interval | None  # None: does not depend on the input


def united(known: Sequence[Known]) -> Known:
    """The least interval that holds all of these, index by index."""
    intervals = [interval for interval in known if interval is not None]
    if not intervals:
        return None
    axes = {interval.axis for interval in intervals} - {None}
    if len(axes) > 1:
        intervals = [interval.everywhere() for interval in intervals]
    axis = axes.pop() if len(axes) == 1 else None
    _, low, high, cut = intervals[0]
    for interval in intervals[1:]:
        low, high = np.minimum(low, interval.low), np.maximum(high, interval.high)
        cut = cut | interval.cut
    return Interval(axis, low, high, cut)
