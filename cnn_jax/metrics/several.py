"""Metrics of several labels an image: how well the scores of a class rank the images."""

import numpy as np


def average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision of each class: float [K], nan for one without examples.

    The mean precision over the examples of the class, each at the threshold that its score sets;
    examples of one score come together (Salton and McGill 1983, without interpolation).

    Args:
        scores: [n, K].
        truth: [n, K], 1 for an image of the class and 0 for another.
    """
    found = np.full(scores.shape[1], np.nan)
    for k in np.flatnonzero((truth > 0).any(0)):
        order = np.argsort(-scores[:, k], kind="stable")
        right = truth[order, k] > 0
        last = np.append(np.diff(scores[order, k]) != 0, True)  # of its score
        hits, seen = np.cumsum(right)[last], np.flatnonzero(last) + 1
        found[k] = float((np.diff(hits, prepend=0) * hits / seen).sum() / hits[-1])
    return found


def area_under_roc(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class: float [K], nan where all images agree.

    The probability that an image of the class has a higher score than another; one half where they
    are equal (Mann and Whitney 1947; Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747).

    Args:
        scores, truth: as for `average_precision`.
    """
    found = np.full(scores.shape[1], np.nan)
    for k in range(scores.shape[1]):
        positive = truth[:, k] > 0
        count, others = int(positive.sum()), int((~positive).sum())
        if not count or not others:
            continue
        _, rank, sizes = np.unique(scores[:, k], return_inverse=True, return_counts=True)
        middle = np.cumsum(sizes) - (sizes - 1) / 2  # from 1; the mean rank of equal scores
        total = middle[rank.reshape(-1)][positive].sum()
        found[k] = (total - count * (count + 1) / 2) / (count * others)
    return found
