"""Confidence intervals of figures over a set of examples, by the bootstrap."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95

# Weights [n] of the examples -> figures by name.
Statistic = Callable[[np.ndarray], Mapping[str, float]]


class Interval(NamedTuple):
    """The ends of a confidence interval."""

    low: float
    high: float


def intervals(
    statistic: Statistic,
    examples: int,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals: the spread of figures over sets drawn from the examples at random.

    Each set has as many examples as there are, drawn with replacement, and is given as the number
    of times that each example occurs (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
    chapter 13). It is the spread over other examples of the same kind; not that over trainings.

    Args:
        statistic: counts [n] of the examples, float64 -> figures. A figure that is nan for a set,
            such as the recall of a class that is not in it, is left out there.
        examples: n.
        resamples: number of sets.
        confidence: share of the sets whose figures are inside, in (0, 1).
        seed: seed of the draws.

    Returns:
        The interval of each figure; none for a figure that most sets do not have, and none at all
        for fewer than two examples.

    Raises:
        ValueError: a number is out of range.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"resamples={resamples}, confidence={confidence}: wanted 1 or more, and a share "
            "between 0 and 1."
        )
    if examples < 2:
        return {}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        counts = np.bincount(rng.integers(examples, size=examples), minlength=examples)
        for name, value in statistic(counts.astype(np.float64)).items():
            drawn.setdefault(name, []).append(value)
    ends = 50 * (1 - confidence), 50 * (1 + confidence)
    found = {}
    for name, listed in drawn.items():
        values = np.asarray(listed)[np.isfinite(listed)]
        if 2 * len(values) > resamples:
            low, high = np.percentile(values, ends)
            found[name] = Interval(float(low), float(high))
    return found
