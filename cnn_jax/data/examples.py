"""Examples: records as arrays of one shape, by index.

`Streamed` decodes on every request; `InMemory` decodes everything once. Both have `gather`, which
also reports the records that were skipped.
"""

import concurrent.futures
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.types import Example, Loader, Record, Source

_CHUNK = 512  # records read and decoded at a time by `InMemory`


class Gathered(NamedTuple):
    """Stacked examples.

    Attributes:
        arrays: name -> array [b, ...].
        present: bool [b]; False for a corrupt record that was not replaced, whose arrays are zeros.
        skipped: the corrupt records that were found: index -> message.
    """

    arrays: dict[str, np.ndarray]
    present: np.ndarray
    skipped: dict[int, str]


class Examples(Protocol):
    """What a pipeline needs from its examples."""

    def __len__(self) -> int: ...

    def gather(
        self,
        indices: np.ndarray,
        rngs: Sequence[np.random.Generator] | None = None,
        *,
        replace: bool,
    ) -> Gathered:
        """The examples at indices int64 [b], with a random generator for each, or none.

        With `replace`, the next good record of the source takes the place of a corrupt one, the
        same in every process.
        """
        ...


class Streamed:
    """Examples decoded on request, in parallel threads."""

    def __init__(self, source: Source, load: Loader, *, threads: int | None = None):
        self._source, self._load = source, load
        self._threads = threads or available_cpus()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._blank: dict[str, np.ndarray] = {}  # zeros in the shapes of an example

    def __len__(self) -> int:
        return len(self._source)

    def nbytes(self) -> int:
        """The memory that all examples would take."""
        return len(self) * sum(blank.nbytes for blank in self._shapes().values())

    def gather(self, indices, rngs=None, *, replace) -> Gathered:
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(self._threads, "cnn_jax.data")
        size = len(indices)
        arrays = {name: np.zeros((size, *b.shape), b.dtype) for name, b in self._shapes().items()}
        present = np.zeros(size, bool)
        skipped: dict[int, str] = {}
        records = self._source.__getitems__([int(index) for index in indices])

        def fill(rows: np.ndarray) -> None:
            for row in rows:
                rng = rngs[row] if rngs else None
                example = self._example(int(indices[row]), records[row], rng, replace, skipped)
                for name, value in (example or {}).items():
                    arrays[name][row] = value
                present[row] = example is not None

        # a few pieces per thread: little overhead, and no long wait for the last one
        pieces = np.array_split(np.arange(size), min(size, 4 * self._threads))
        list(self._pool.map(fill, pieces))
        return Gathered(arrays, present, skipped)

    def _example(self, index: int, record: Record, rng, replace: bool, skipped: dict[int, str]):
        """One example; if its record is corrupt, the next good one with `replace`, else None."""
        for candidate in self._from(index):
            if candidate != index:
                record = self._source[candidate]
            try:
                return self._checked(self._load(record, rng))
            except DataError:  # not corrupt but unreadable, such as a file without permission
                raise
            except Exception as error:
                if isinstance(error, KeyError) and error.args[0] not in record:
                    raise DataError(
                        f"{self._source.describe(candidate)} has no {error}, which its loader "
                        f"wants: it has {', '.join(map(repr, record))}"
                    ) from error
                message = f"{self._source.describe(candidate)} is corrupt: {error}"
                if not self._source.skip_corrupt:
                    raise DataError(
                        f"{message}; skip_corrupt=true leaves such records out"
                    ) from error
                skipped[candidate] = message
                if not replace:
                    return None
        raise DataError(f"{self._source.name}, split {self._source.split}: all records are corrupt")

    def _checked(self, example: Example) -> Example:
        for name, blank in self._blank.items():
            if np.shape(example[name]) != blank.shape:
                raise ValueError(f"{name} of shape {np.shape(example[name])}, not {blank.shape}")
        return example

    def _shapes(self) -> dict[str, np.ndarray]:
        if not self._blank:
            example = self._example(0, self._source[0], np.random.default_rng(0), True, {})
            self._blank = {name: np.zeros_like(value) for name, value in example.items()}
        return self._blank

    def _from(self, index: int) -> Iterator[int]:
        yield from range(index, len(self))
        yield from range(index)

    def __getstate__(self):  # threads cannot be pickled
        return {**self.__dict__, "_pool": None}


class InMemory:
    """Examples decoded once; a batch is then one array indexing, a thousand times faster."""

    def __init__(self, source: Source, load: Loader):
        streamed = Streamed(source, load)
        self._arrays: dict[str, np.ndarray] = {}
        self._present = np.zeros(len(source), bool)
        self._skipped: dict[int, str] = {}
        for start in range(0, len(source), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(source)))
            chunk = streamed.gather(rows, replace=False)
            for name, value in chunk.arrays.items():
                if name not in self._arrays:
                    self._arrays[name] = np.empty((len(source), *value.shape[1:]), value.dtype)
                self._arrays[name][rows] = value
            self._present[rows] = chunk.present
            self._skipped |= chunk.skipped
        good = np.flatnonzero(self._present)
        self._next_good = good[np.searchsorted(good, np.arange(len(source))) % len(good)]

    def __len__(self) -> int:
        return len(self._present)

    def gather(self, indices, rngs=None, *, replace) -> Gathered:
        present = self._present[indices]
        if replace:
            indices, present = self._next_good[indices], np.ones_like(present)
        arrays = {name: value[indices] for name, value in self._arrays.items()}
        return Gathered(arrays, present, self._skipped)


def available_cpus() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
