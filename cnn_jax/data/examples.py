"""Examples: records decoded to arrays of one shape, by number.

`Streamed` decodes whenever it is asked; `InMemory` has decoded everything once. Both answer
`gather(indices, rngs)`, and both know which records had to be skipped.
"""

import concurrent.futures
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.source import Source

Arrays = Mapping[str, np.ndarray]

# (source, index, rng) -> the arrays of one example, of the same shapes for every example.
# rng is the only randomness it may use; None asks for no randomness.
Load = Callable[[Source, int, np.random.Generator | None], Arrays]


class Gathered(NamedTuple):
    """Examples side by side.

    Attributes:
        arrays: [b, ...] each.
        present: bool [b]; False where the record is corrupt and was not replaced.
        skipped: the corrupt records that were met: index -> the message.
    """

    arrays: dict[str, np.ndarray]
    present: np.ndarray
    skipped: dict[int, str]


class Examples(Protocol):
    """What a pipeline needs of its examples."""

    def __len__(self) -> int: ...

    def gather(
        self,
        indices: Sequence[int],
        rngs: Sequence[np.random.Generator] | None,
        *,
        replace: bool,
    ) -> Gathered:
        """Loads the examples. `replace` puts the next good one in the place of a corrupt one."""
        ...


class Streamed:
    """Examples loaded when they are asked for, in parallel threads."""

    def __init__(self, source: Source, load: Load, *, threads: int | None = None):
        self.source, self.load = source, load
        self.threads = threads or available_cpus()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.source)

    def gather(self, indices, rngs, *, replace) -> Gathered:
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self.threads, "cnn_jax.data")
        skipped: dict[int, str] = {}

        def load(job):
            return self._load(*job, skipped, replace)

        loaded = list(self._pool.map(load, zip(indices, rngs or [None] * len(indices))))
        present = np.array([example is not None for example in loaded])
        blank = next((example for example in loaded if example is not None), None)
        if blank is None:  # a whole batch of corrupt records: any good one knows the shapes
            blank = self._load(int(indices[0]), None, skipped, True)
        blank = {name: np.zeros_like(value) for name, value in blank.items()}
        loaded = [blank if example is None else example for example in loaded]
        arrays = {name: np.stack([example[name] for example in loaded]) for name in blank}
        return Gathered(arrays, present, skipped)

    def _load(self, index: int, rng, skipped: dict[int, str], replace: bool) -> Arrays | None:
        for step in range(len(self)):
            candidate = (int(index) + step) % len(self)
            try:
                return self.load(self.source, candidate, rng)
            except DataError:  # not a matter of decoding: say, a file that may not be read
                raise
            except Exception as error:
                reason = f"{self.source.describe(candidate)} is corrupt: {error}"
                if not self.source.skip_corrupt:
                    raise DataError(f"{reason}; --skip_corrupt leaves such records out") from error
                skipped[candidate] = reason
                if not replace:
                    return None
        raise DataError(f"{self.source.name}, split {self.source.split}: every record is corrupt")

    def __getstate__(self):  # a pool of threads does not travel to another process
        return {**self.__dict__, "_pool": None}


class InMemory:
    """Examples loaded once; a batch is one indexing of an array, a hundred times faster."""

    def __init__(self, source: Source, load: Load):
        self._all = Streamed(source, load).gather(range(len(source)), None, replace=False)
        present = np.flatnonzero(self._all.present)
        if not len(present):
            raise DataError(f"{source.name}, split {source.split}: every record is corrupt")
        following = np.searchsorted(present, np.arange(len(source))) % len(present)
        self._next_good = present[following]

    def __len__(self) -> int:
        return len(self._next_good)

    def gather(self, indices, rngs, *, replace) -> Gathered:
        del rngs  # what is drawn at random is never kept in memory
        indices = np.asarray(indices)
        present = np.ones(len(indices), bool) if replace else self._all.present[indices]
        if replace:
            indices = self._next_good[indices]
        arrays = {name: value[indices] for name, value in self._all.arrays.items()}
        return Gathered(arrays, present, self._all.skipped)


def available_cpus() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
