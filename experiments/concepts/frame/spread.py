"""The values of a few seeds as a text, and whether some lie above others."""

from collections.abc import Callable, Sequence

import numpy as np

from cnn_jax.analysis.interval import half_width
from experiments.concepts.frame.lesson import Text

Values = Sequence[float] | np.ndarray


def spread(values: Values, *, scale: float = 1, digits: int = 1, unit: str = "") -> str:
    """'94.1 (93.6 … 94.5) %': the mean, and the lowest and highest of the seeds.

    Unlike an interval around the mean, these are values that there can be: no accuracy is 119 %.
    Where a value is none (NaN, or null in a file), the text says so.
    """
    kept = finite(values) * scale
    if not len(kept):
        return "NaN"
    text = f"{kept.mean():.{digits}f}"
    low, high = f"{kept.min():.{digits}f}", f"{kept.max():.{digits}f}"
    if low != high:
        text += f" ({low} … {high})"
    lost = len(values) - len(kept)
    return text + (f" {unit}" if unit else "") + (f", {lost} NaN" if lost else "")


def percent(values: Values, *, digits: int = 1) -> str:
    """Fractions in percent: '94.1 (93.6 … 94.5) %'."""
    return spread(values, scale=100, digits=digits, unit="%")


def points(values: Values) -> Text:
    """Differences of fractions, in percentage points: '8.9 (1.7 … 20.9) points'."""
    shown = spread(values, scale=100)
    return Text(f"{shown} points", f"{shown} 个百分点")


def versus(a: Values, b: Values, shown: Callable[[Values], str] = percent) -> str:
    """'94.1 % > 80.0 %': how the means compare, whatever was expected of them."""
    return f"{shown(a)} {sign(np.mean(a), np.mean(b))} {shown(b)}"


def sign(a: float | np.floating, b: float | np.floating) -> str:
    """Which of <, > and = is true of two numbers."""
    return ">" if a > b else "<" if a < b else "="


def hundredths(values: Values) -> str:
    """As `spread`, with two digits."""
    return spread(values, digits=2)


def finite(values: Values) -> np.ndarray:
    """Those of the values that are numbers, which None of a file is not."""
    all_of_them = np.array([np.nan if each is None else each for each in values], float)
    return all_of_them[np.isfinite(all_of_them)]


def above(a: Values, b: Values, *, by: float = 0.0) -> bool:
    """Whether the mean of `a` is above that of `b` by more than `by` and their joint interval."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return bool(a.mean() - b.mean() > by + np.hypot(half_width(a), half_width(b)))
