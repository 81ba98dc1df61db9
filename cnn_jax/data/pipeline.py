"""Batches as functions of their number: `train_batches` is endless, `eval_batches` covers a set.

There is no iterator state: resuming at step 1000 is `batches.iterate(1000)`. With several
processes, each gets its rows of the same global batch, so training does not depend on the number of
processes; nor does it depend on threads or workers.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from cnn_jax.data import order
from cnn_jax.data.balance import Balanced
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Examples, Gathered, InMemory, Streamed, available_cpus
from cnn_jax.data.labels import labels_of
from cnn_jax.data.loaders.image import image_loader
from cnn_jax.data.types import Loader, Source
from cnn_jax.data.workers import in_processes

_log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

MEMORY_LIMIT = 2**30  # bytes of decoded examples up to which a set is kept in memory
_ENDLESS = 2**62  # more steps than any run has

# Decoded sets, for as long as their source lives: evaluating again then costs nothing.
_decoded: WeakKeyDictionary[Source, dict[Loader, InMemory]] = WeakKeyDictionary()


class _Batches:
    """What training and evaluation share: the rows of this process, prefetching, skipped records.

    Attributes:
        examples: number of examples in the source.
        batch_size: rows of the global batch, over all processes.
        corrupt: the records skipped so far, {index: message}.
    """

    def __init__(self, examples: Examples, *, batch_size, process_index, process_count, workers):
        if batch_size < 1 or batch_size % process_count:
            raise DataError(
                f"batch_size={batch_size}: wanted a positive multiple of the number of processes, "
                f"{process_count}"
            )
        if not 0 <= process_index < process_count:
            raise DataError(f"process_index {process_index} of {process_count} processes")
        self._examples = examples
        self.examples = len(examples)
        self.batch_size = batch_size
        self.corrupt: dict[int, str] = {}
        self._workers = workers
        rows = batch_size // process_count
        self._rows = np.arange(process_index * rows, (process_index + 1) * rows)

    def __getitem__(self, step: int) -> Batch:
        return self._receive(self._make(step))

    def _make(self, step: int) -> tuple[Batch, dict[int, str]]:
        raise NotImplementedError

    def _receive(self, made: tuple[Batch, dict[int, str]]) -> Batch:
        """Records the skipped records in the process that trains, and returns the batch."""
        batch, skipped = made
        for index in sorted(skipped.keys() - self.corrupt.keys()):
            _log.warning("skipped: %s", skipped[index])
            self.corrupt[index] = skipped[index]
        return batch

    def _iterate(self, start: int, stop: int) -> Iterator[Batch]:
        if isinstance(self._examples, InMemory):
            made: Iterator = map(self._make, range(start, stop))
        else:
            made = _prefetch(self._make, start, stop, self._workers)
        return map(self._receive, made)


class TrainBatches(_Batches):
    """An endless stream of shuffled batches; `batches[step]` depends on (seed, step) alone.

    Attributes:
        steps_per_epoch: examples / batch_size, a fraction.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        seed: int,
        order_of: Callable[[int, int, int], np.ndarray] = order.permutation,
        **options,
    ):
        super().__init__(examples, **options)
        self._seed, self._order_of = seed, order_of
        self.steps_per_epoch = self.examples / self.batch_size

    def with_seed(self, seed: int) -> "TrainBatches":
        """The same examples in the order of another seed; decoded examples are shared."""
        other = copy.copy(self)
        other._seed, other.corrupt = seed, {}
        return other

    def iterate(self, start: int = 0) -> Iterator[Batch]:
        """Batches from step `start` on, made in the background."""
        return self._iterate(start, _ENDLESS)

    def __getitem__(self, step: int) -> Batch:
        if step < 0:
            raise IndexError(f"batch {step}: steps are numbered from 0")
        return super().__getitem__(step)

    def indices(self, step: int) -> np.ndarray:
        """int64 [b]: which examples the batch of this process has."""
        positions = step * self.batch_size + self._rows
        return order.indices(self._seed, positions, self.examples, self._order_of)

    def _make(self, step):
        positions = step * self.batch_size + self._rows
        chosen = self.indices(step)
        rngs = None
        if not isinstance(self._examples, InMemory):
            rngs = [order.generator(self._seed, int(position)) for position in positions]
        gathered = self._examples.gather(chosen, rngs, replace=True)
        return _batch(gathered, np.ones(len(positions), bool)), gathered.skipped


class EvalBatches(_Batches, Sequence):
    """A sequence of batches with every example once; padding and corrupt records have mask 0."""

    def __len__(self) -> int:
        return -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self._iterate(0, len(self))

    def __getitem__(self, step):
        if not 0 <= step < len(self):
            raise IndexError(f"batch {step} of {len(self)}")
        return super().__getitem__(step)

    def at(self, indices: Sequence[int]) -> Batch:
        """The examples of these indices, as a batch of their number."""
        gathered = self._examples.gather(np.asarray(indices, np.int64), None, replace=False)
        return _batch(gathered, gathered.present)

    def _make(self, step):
        positions = step * self.batch_size + self._rows
        real = positions < self.examples
        gathered = self._examples.gather(np.where(real, positions, 0), None, replace=False)
        return _batch(gathered, real & gathered.present), gathered.skipped


def _batch(gathered: Gathered, real: np.ndarray) -> Batch:
    arrays = dict(gathered.arrays)
    if not real.all():
        for value in arrays.values():
            value[~real] = 0
    return {**arrays, "mask": real.astype(np.float32)}


def train_batches(
    source: Source,
    load: Loader | None = None,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    in_memory: bool | None = None,
    balance: float = 0.0,
) -> TrainBatches:
    """Endless shuffled batches of the arrays that a loader makes, with 'mask' float32 [b] of ones.

    Every epoch is a separate permutation; if an epoch ends within a batch, the next one fills it.

    Args:
        source: see `open_source`.
        load: the loader; by default `image_loader(source)`, whose batches are {'image': uint8
            [b, H, W, C], 'label': int32 [b], 'mask'}.
        batch_size: examples in the global batch; this process gets batch_size / process_count.
        seed: seed of the order and of what the loader draws.
        process_index: index of this process, in multi-process training.
        process_count: number of processes.
        workers: number of processes that decode; 0 decodes in threads, which is best up to about
            eight cores.
        in_memory: whether to load every example once and keep it; by default if the loader never
            draws, and the examples take at most MEMORY_LIMIT.
        balance: how far an epoch evens the classes out, from 0, not at all, to 1, the same number
            of examples of each; see `cnn_jax.data.balance`.

    Raises:
        DataError: see `image_loader`; batch_size is not a multiple of process_count; a balance of
            examples without one label each, or outside [0, 1]. While iterating: a corrupt record,
            unless the source skips those.
    """
    return TrainBatches(
        _examples(source, load, workers, in_memory),
        seed=seed,
        order_of=_order(source, balance),
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
        workers=workers,
    )


def _order(source: Source, balance: float) -> Callable[[int, int, int], np.ndarray]:
    if not balance:
        return order.permutation
    if not 0 < balance <= 1:
        raise DataError(f"balance={balance:g}: wanted 0, as often as they are, to 1, equally often")
    labels = labels_of(source)
    if labels.ndim != 1:
        raise DataError(
            f"balance={balance:g}: the images of {source.name} have several labels each, whose "
            "classes cannot be evened out; leave it out"
        )
    return Balanced(labels, balance)


def eval_batches(
    source: Source,
    load: Loader | None = None,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    in_memory: bool | None = None,
) -> EvalBatches:
    """Every example once, in the order of the source; same arguments as `train_batches`.

    'mask' is 0 for the rows that pad the last batch and for skipped corrupt records. With several
    processes, all have the same number of batches.
    """
    return EvalBatches(
        _examples(source, load, workers, in_memory),
        batch_size=batch_size,
        process_index=process_index,
        process_count=process_count,
        workers=workers,
    )


def _examples(
    source: Source, load: Loader | None, workers: int, in_memory: bool | None
) -> Examples:
    """Examples in memory if the loader never draws and they fit, else streamed."""
    load = load or image_loader(source)
    streamed = Streamed(source, load, threads=max(1, available_cpus() // max(1, workers)))
    if in_memory is None:
        draws = getattr(load, "random", True)
        in_memory = not draws and streamed.nbytes() <= MEMORY_LIMIT
    if not in_memory:
        return streamed
    decoded = _decoded.setdefault(source, {})
    if load not in decoded:
        decoded[load] = InMemory(source, load)
    return decoded[load]


def _prefetch(make, start: int, stop: int, workers: int) -> Iterator:
    """make(start), make(start + 1), ... computed ahead by Grain, in threads or processes."""
    import grain

    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=3)  # batches, not examples
    dataset = grain.MapDataset.range(start, stop).map(make).to_iter_dataset(ahead)
    if workers:
        dataset = in_processes(dataset, workers)
    batches = iter(dataset)
    try:
        yield from batches
    finally:  # ends the threads and processes as soon as this iterator is dropped
        batches.close()
