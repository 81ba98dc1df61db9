"""The order of the examples: shuffling and randomness as functions of (seed, position).

Nothing here has a state. The training stream is endless; its position k lies in epoch k // n, and
every epoch is a separate permutation of the n examples.
"""

import functools
from collections.abc import Callable

import numpy as np

# Philox counters, so that no two ever draw the same numbers
_SHUFFLE, _EXAMPLE, _CLASS, _FOLD = 1, 2, 3, 4


def generator(seed: int, position: int) -> np.random.Generator:
    """The random generator of the example at `position`, whichever process decodes it."""
    return _philox(seed, position, _EXAMPLE)


@functools.lru_cache(maxsize=16)  # two epochs of eight runs side by side
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """int64 [n]: the order of an epoch."""
    order = _philox(seed, epoch, _SHUFFLE).permutation(n)
    order.flags.writeable = False  # the cached array is shared
    return order


def indices(
    seed: int,
    positions: np.ndarray,
    n: int,
    order_of: Callable[[int, int, int], np.ndarray] = permutation,
) -> np.ndarray:
    """int64 [b]: the indices, below n, of the examples at positions of the training stream, whose
    epochs have the order `order_of(seed, epoch, n)`."""
    epochs, offsets = np.divmod(positions, n)
    chosen = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        chosen[here] = order_of(seed, int(epoch), n)[offsets[here]]
    return chosen


def within_class(seed: int, number: int, positions: np.ndarray, n: int) -> np.ndarray:
    """int64 [b]: which of the n examples of class `number` are at positions of an endless stream of
    that class alone, in which they are shuffled anew each time that all have come."""
    rounds, offsets = np.divmod(positions, n)
    chosen = np.empty_like(positions)
    for each in np.unique(rounds):
        here = rounds == each
        drawn = _philox(seed, int(each), _CLASS, number).permutation(n)
        chosen[here] = drawn[offsets[here]]
    return chosen


def fold_order(seed: int, n: int) -> np.ndarray:
    """int64 [n]: the order in which examples are dealt out to the parts of a division."""
    return _philox(seed, 0, _FOLD).permutation(n)


def _philox(seed: int, index: int, use: int, number: int = 0) -> np.random.Generator:
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, number, use]))
