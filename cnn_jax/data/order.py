"""The order of the examples: shuffling and randomness as functions of (seed, position).

Nothing here has a state. The training stream is endless; its position k lies in epoch k // n, and
every epoch is a separate permutation of the n examples.
"""

import functools

import numpy as np

_SHUFFLE, _EXAMPLE = 1, 2  # Philox counters, so that the two never draw the same numbers


def generator(seed: int, position: int) -> np.random.Generator:
    """The random generator of the example at `position`, whichever process decodes it."""
    return _philox(seed, position, _EXAMPLE)


@functools.lru_cache(maxsize=16)  # two epochs of eight runs side by side
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """int64 [n]: the order of an epoch."""
    order = _philox(seed, epoch, _SHUFFLE).permutation(n)
    order.flags.writeable = False  # the cached array is shared
    return order


def indices(seed: int, positions: np.ndarray, n: int) -> np.ndarray:
    """int64 [b]: the indices, below n, of the examples at positions of the training stream."""
    epochs, offsets = np.divmod(positions, n)
    chosen = np.empty_like(positions)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        chosen[here] = permutation(seed, int(epoch), n)[offsets[here]]
    return chosen


def _philox(seed: int, index: int, use: int) -> np.random.Generator:
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, use]))
