"""Evaluation: the observations of a whole set, added up."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.train.layout import Layout, pad_batch, single_device
from cnn_jax.train.state import TrainState
from cnn_jax.train.step import EvalStep
from cnn_jax.typing import HostBatch, Observed

# Batches that the host may be ahead of the device.
RUN_AHEAD = 2


class Evaluation(NamedTuple):
    """The evaluation of a training run.

    Attributes:
        evaluate: (state, stop) -> Observed, or None if `stop()` became true meanwhile. Usually
            `lambda state, stop: evaluate(eval_step, state, batches, stop=stop)`.
        report: Observed -> named metrics; that of the task. Of R runs both may be lists.
        every: steps between evaluations; 0: only at the end, where there always is one.
    """

    evaluate: Callable[[TrainState, Callable[[], bool]], Any]
    report: Callable[[Any], Any]
    every: int = 0


def evaluate(
    eval_step: EvalStep,
    state: TrainState,
    batches: Iterable[HostBatch],
    layout: Layout | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Observed | None:
    """Runs `eval_step` over `batches` and adds up the observations.

    Args:
        eval_step: evaluation step compiled by `layout`.
        state: state placed by `layout`.
        batches: masked numpy batches of any size; each is padded to the number of devices. Every
            process supplies its own rows, and as many batches as the others.
        layout: the layout; None: one device, see `layout.single_device`.
        stop: called before each batch; the evaluation is aborted once it returns True.

    Returns:
        Observed in numpy, with the sums as float64; None if it was aborted.
    """
    layout = layout or single_device()
    sums: dict[str, np.ndarray] = {}
    rows: dict[str, list[np.ndarray]] = {}
    pending: deque[tuple[Observed, int]] = deque()

    def collect(observed: Observed, size: int) -> None:
        host = jax.device_get(observed)
        for name, value in host.sums.items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
        for name, value in host.rows.items():
            # without the padding of each process, the rows are those of the global batch
            parts = value.reshape(processes, -1, *value.shape[1:])[:, :size]
            rows.setdefault(name, []).append(parts.reshape(-1, *value.shape[1:]))

    processes = layout.device_count // layout.local_device_count
    for batch in batches:
        if stop():
            return None
        padded = pad_batch(batch, layout.local_device_count)
        pending.append((eval_step(state, layout.shard(padded)), len(batch["mask"])))
        if len(pending) > RUN_AHEAD:
            collect(*pending.popleft())
    for observed, size in pending:
        collect(observed, size)
    return Observed(sums, {name: np.concatenate(parts) for name, parts in rows.items()})
