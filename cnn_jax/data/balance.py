"""Balanced sampling: an epoch in which rare classes come more often than they are.

The share of a class with n_c examples is proportional to n_c^(1 - balance): as it is for 0, the
same for every class for 1, and the square root between (Kang et al. 2020, arXiv:1910.09217,
equation 1). An epoch has as many examples as the set; within a class they take turns, so that none
comes a second time before all others of its class have come once more.
"""

import functools

import numpy as np

from cnn_jax.data import order


class Balanced:
    """The order of balanced epochs, a function of (seed, epoch) like `order.permutation`."""

    def __init__(self, labels: np.ndarray, balance: float):
        """
        Args:
            labels: int [n], the class of each example.
            balance: in [0, 1], see above.
        """
        by_class = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[by_class], return_index=True)
        self._members = np.split(by_class, starts[1:])
        sizes = np.array([len(one) for one in self._members])
        self.counts = apportioned(len(labels), sizes ** (1.0 - balance))

    def __call__(self, seed: int, epoch: int, n: int) -> np.ndarray:
        """int64 [n]: the examples of an epoch, in their order."""
        return _epoch(self, seed, epoch)

    def drawn(self, seed: int, epoch: int) -> np.ndarray:
        """The examples of an epoch, class by class."""
        parts = []
        for number, (members, count) in enumerate(zip(self._members, self.counts, strict=True)):
            positions = np.arange(epoch * count, (epoch + 1) * count)
            parts.append(members[order.within_class(seed, number, positions, len(members))])
        return np.concatenate(parts)


@functools.lru_cache(maxsize=16)
def _epoch(balanced: Balanced, seed: int, epoch: int) -> np.ndarray:
    drawn = balanced.drawn(seed, epoch)
    shuffled = drawn[order.permutation(seed, epoch, len(drawn))]
    shuffled.flags.writeable = False  # the cached array is shared
    return shuffled


def apportioned(total: int, shares: np.ndarray) -> np.ndarray:
    """int64 [K]: whole numbers that add up to `total`, in proportion to positive shares.

    By the largest remainders; of equal ones the first.
    """
    exact = total * shares / shares.sum()
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = total - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts
