"""Precision, recall, F1 and average precision of each class."""

from typing import NamedTuple

import numpy as np

from cnn_jax.metrics import several


class PerClass(NamedTuple):
    """Figures of each class, float [K]; nan where there is nothing to divide by.

    Attributes:
        support: examples of the class.
        precision: share of right ones among those predicted to be of the class.
        recall: share found among those of the class.
        f1: the harmonic mean of the two: 2 right / (predicted + true).
    """

    support: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def from_confusion(confusion: np.ndarray) -> PerClass:
    """The figures of a confusion matrix [K, K], whose rows are the truth."""
    counts = np.asarray(confusion, np.float64)
    right, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    return PerClass(
        support=truth,
        precision=_ratio(right, predicted),
        recall=_ratio(right, truth),
        f1=_ratio(2 * right, truth + predicted),
    )


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class against all others: float [K], nan for one without examples.

    The mean precision over the examples of the class, each at the threshold that its score sets;
    examples of one score come together (Salton and McGill 1983, without interpolation).

    Args:
        scores: [n, K].
        labels: int [n].
    """
    return several.average_precision(scores, labels[:, None] == np.arange(scores.shape[1]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
