"""The batches of a run, each on the device one step before it is needed."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from cnn_jax.train.layout import Layout
from cnn_jax.typing import Batch, HostBatch


class Iterated(Protocol):
    """Batches by their step, such as `cnn_jax.data.TrainBatches`."""

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on."""
        ...


Batches = Iterated | Callable[[int], Iterator[HostBatch]] | Iterable[HostBatch]


def ahead(batches: Batches, step: int, layout: Layout) -> Iterator[Batch]:
    """The batches from `step` on, placed by `layout`, one more than has been asked for.

    Args:
        batches: an object with `iterate`; a function step -> iterator from that step on; or an
            iterable, whose first batch is that of step 0.
        step: number of updates made.
        layout: the layout.
    """
    iterate = getattr(batches, "iterate", batches if callable(batches) else None)
    if iterate is not None:
        return _placed(iterate(step), layout)
    return _placed(itertools.islice(iter(batches), step, None), layout)  # type: ignore[arg-type]


def _placed(source: Iterable[HostBatch], layout: Layout) -> Iterator[Batch]:
    queue: deque[Batch] = deque()
    for batch in source:
        queue.append(layout.shard(batch))
        if len(queue) > 1:
            yield queue.popleft()
    yield from queue


def examples(batch: Batch) -> int:
    """The number of examples of a batch, of all devices of a layout or of R runs."""
    if "mask" in batch:
        return int(np.prod(batch["mask"].shape))
    return len(next(iter(batch.values())))
