"""Calibration: whether a network that is 80% sure is right in 80% of the cases."""

from typing import NamedTuple

import numpy as np

from cnn_jax.metrics.added import BINS


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of equal width: bin i is (i / n, (i + 1) / n].

    Attributes:
        examples: float [n], how many are in each bin.
        confidence: float [n], their mean confidence; nan in an empty bin.
        accuracy: float [n], the share of them that is right; nan likewise.
    """

    examples: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: Guo et al. 2017, arXiv:1706.04599, equation 3."""
        if not self.examples.sum():
            return float("nan")
        gaps = np.abs(np.nan_to_num(self.confidence - self.accuracy))
        return float((self.examples * gaps).sum() / self.examples.sum())


def reliability(
    confidence: np.ndarray,
    right: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    bins: int = BINS,
) -> Reliability:
    """The reliability diagram of predictions.

    Args:
        confidence: [n], the probability of what was predicted, in 0..1.
        right: [n], whether it was right.
        weights: [n], how often each counts; None for once.
        bins: number of bins.
    """
    weights = np.ones(len(confidence)) if weights is None else weights
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count, sure, good = (
        np.bincount(index, weights * values, minlength=bins)
        for values in (1.0, confidence.astype(np.float64), right.astype(np.float64))
    )
    with np.errstate(invalid="ignore"):
        return Reliability(count, sure / count, good / count)
