"""Mean and confidence interval of a few runs."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


def half_width(values: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> float:
    """Half-width of the confidence interval of the mean by Student's t; 0 for one value.

    >>> round(half_width([0.93, 0.94, 0.95]), 4)
    0.0248

    Args:
        values: results of independent runs.
        confidence: confidence level of the two-sided interval, in (0, 1).
    """
    n = len(values)
    if n < 2:
        return 0.0
    from scipy import special  # late: SciPy

    t = special.stdtrit(n - 1, (1 + confidence) / 2)
    return float(t * np.std(values, ddof=1) / np.sqrt(n))


class Spread(NamedTuple):
    """A figure over a few runs, in a form that it can have.

    Attributes:
        mean: of all values.
        half_width: half the 95% interval of the mean; None where the extremes tell more.
        extremes: the lowest and the highest value; None for fewer than two.
    """

    mean: float
    half_width: float | None
    extremes: tuple[float, float] | None

    def text(self, number: Callable[[float], str] = "{:.4f}".format) -> str:
        """'0.9400 ± 0.0248', '0.5000 (0.3333 to 0.6667)', or the mean alone.

        Args:
            number: how a mean or an extreme is written.
        """
        if self.half_width is not None:
            return f"{number(self.mean)} ± {number(self.half_width).removeprefix('+')}"
        if self.extremes is None:
            return number(self.mean)
        low, high = map(number, self.extremes)
        return f"{number(self.mean)} ({low} to {high})"


def spread(values: Sequence[float], *, reach: tuple[float, float] = (0.0, 1.0)) -> Spread:
    """The mean of a few runs, and how far they lie apart.

    Student's t of two runs is 12.7: an accuracy of 0.5 ± 2.1 says nothing, and two equal runs would
    have no error at all. Two runs, and those whose interval would leave a reach that they all keep
    to (a share is between 0 and 1, a loss is not below 0), have their extremes instead.

    >>> spread([0.9, 1.0]).text()
    '0.9500 (0.9000 to 1.0000)'
    >>> spread([0.93, 0.94, 0.95]).text()
    '0.9400 ± 0.0248'

    Args:
        values: results of independent runs, at least one.
        reach: the lowest and the highest value of a share, or of a difference between shares.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return Spread(mean, None, None)
    low, high = float(min(values)), float(max(values))
    half = half_width(values)
    leaves = mean - half < reach[0] <= low or mean + half > reach[1] >= high
    return Spread(mean, None if leaves or len(values) < 3 else half, (low, high))
