"""The training loop: steps, evaluation, checkpoints and an end at the right step.

It serves a single run, a run of several processes, and R runs side by side alike. What only goes
along with a run is a `cnn_jax.train.callback.Callback`.
"""

import contextlib
import itertools
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from cnn_jax.train import nonfinite
from cnn_jax.train.callback import (
    CHECKPOINT,
    COMPILING,
    EVALUATION,
    READING,
    REPORT,
    STEP,
    Callback,
    Run,
    due,
)
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.evaluation import Evaluation
from cnn_jax.train.layout import Layout, single_device
from cnn_jax.train.state import TrainState
from cnn_jax.train.step import TrainStep
from cnn_jax.typing import Batch, HostBatch

# The number of steps that the host may run ahead of the device. The metrics of a step are fetched
# this many steps later, when they are ready, so that the device never waits for the host.
RUN_AHEAD = 2


class Iterated(Protocol):
    """Batches by their step, such as `cnn_jax.data.TrainBatches`."""

    def iterate(self, start: int = 0) -> Iterator[HostBatch]:
        """The batches from step `start` on."""
        ...


Batches = Iterated | Callable[[int], Iterator[HostBatch]] | Iterable[HostBatch]


class Plan(NamedTuple):
    """The schedule of a run, in steps; 0 means only at the end.

    Attributes:
        steps: number of steps of the whole run.
        log_every: steps between rows of training metrics.
        evaluate_every: steps between evaluations, each with a checkpoint.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    log_every: int
    evaluate_every: int = 0
    checkpoint_every: int = 0


class Saving(NamedTuple):
    """The checkpoints of a training run.

    Attributes:
        checkpoints: where they are kept.
        every: steps between checkpoints; 0: only at the end. Each new evaluation is saved too.
        meta: JSON saved with every state.
    """

    checkpoints: Checkpoints
    every: int = 0
    meta: Mapping[str, Any] = MappingProxyType({})


class Outcome(NamedTuple):
    """The result of `fit`.

    Attributes:
        state: the state, placed by the layout.
        step: number of updates made.
        observed: observations of the evaluation at this step, or None if there was none.
        figures: its named metrics, likewise.
        interrupted: the signal that stopped the run, or None.
    """

    state: TrainState
    step: int
    observed: Any
    figures: Any
    interrupted: signal.Signals | None


def fit(
    state: TrainState,
    *,
    train_step: TrainStep,
    batches: Batches,
    steps: int,
    layout: Layout | None = None,
    evaluation: Evaluation | None = None,
    saving: Saving | None = None,
    callbacks: Sequence[Callback] = (),
    resumed: Mapping[str, Any] | None = None,
    learning_rate: Callable[[int], float] | None = None,
    nonfinite_limit: int | None = 0,
    stopped: Callable[[], signal.Signals | None] = lambda: None,
) -> Outcome:
    """Trains until `steps` updates are made, or until `stopped` says so.

    The same state, batches and steps give the same numbers, bit for bit, whether the run was
    interrupted or not. `fit` installs no signal handlers and writes no files of its own.

    Args:
        state: initial state, placed by `layout`; training continues from its step. A compiled step
            usually donates it, so that it cannot be used again.
        train_step: compiled training step: (state, batch) -> (state, metrics), such as
            `layout.compile_train(make_train_step(...))`.
        batches: batches by their step: an object with `iterate`, such as
            `cnn_jax.data.TrainBatches`; a function step -> iterator from that step on; or an
            iterable, whose first batch is that of step 0.
        steps: number of updates at the end of the run, including those of `state`.
        layout: the layout; None: one device, see `layout.single_device`.
        evaluation: evaluations during the run and at its end.
        saving: checkpoints during the run and at its end.
        callbacks: what goes along with the run, see `cnn_jax.train.callback`.
        resumed: the meta of the checkpoint that `state` comes from; None for a new run.
        learning_rate: number of updates made -> learning rate, for messages and the log.
        nonfinite_limit: number of non-finite steps that `train_step` may skip or roll back in the
            whole run; None: steps are not checked.
        stopped: asked before each step and each batch of an evaluation; anything but None stops the
            run, with a checkpoint. See `cnn_jax.train.interruption.stop_signals`.

    Raises:
        ValueError: the state is beyond `steps`, or there are too few batches.
        NonFiniteError: the loss or the gradient is not finite, or has been so too often; the last
            good checkpoint is kept.
    """
    training = _Training(
        state, steps, train_step, layout or single_device(), evaluation, saving, callbacks,
        resumed, learning_rate, nonfinite_limit, stopped,
    )  # fmt: skip
    with contextlib.ExitStack() as held:
        for callback in callbacks:
            held.enter_context(callback)
        return training.run(batches)


class _Training:
    """A run while it is under way."""

    def __init__(
        self, state, steps, train_step, layout, evaluation, saving, callbacks,
        resumed, learning_rate, nonfinite_limit, stopped,
    ):  # fmt: skip
        self._state, self._train_step, self._layout = state, train_step, layout
        self._evaluation, self._saving, self._stopped = evaluation, saving, stopped
        self._callbacks = tuple(callbacks)
        self._around = [
            callback
            for callback in self._callbacks
            if type(callback).around_step is not Callback.around_step
        ]
        self._step = int(np.ravel(layout.fetch(state.step))[0])  # [R] of R runs, which agree
        if not 0 <= self._step <= steps:
            raise ValueError(
                f"steps={steps}, and the state has made {self._step} updates already; steps counts "
                "these too. Raise it, or begin with a new state."
            )
        self._run = Run(
            self._step, steps, resumed or {}, learning_rate, nonfinite_limit, self._enter
        )
        self._pending: deque[tuple[int, dict[str, Any]]] = deque()  # steps that may not be finished
        evaluated = bool(self._run.resumed.get("evaluated"))
        self._evaluated_at = self._step if evaluated else -1
        self._saved = (self._step, evaluated) if self._run.resumed else None
        self._observed: Any = None
        self._figures: Any = None
        self._batches_asked = self._evaluations = 0

    def run(self, batches: Batches) -> Outcome:
        self._enter(READING, self._step + 1)
        ahead = self._ahead(_from(batches, self._step))
        self._tell("on_begin", self._run)
        while True:
            self._evaluate_if_due()
            self._save_if_due()
            if self._step == self._run.steps or self._stopped():
                break
            self._advance(ahead)
        self._collect()
        self._tell("on_end", self._step)
        if self._saving is not None:
            self._enter(CHECKPOINT, self._step)
            self._saving.checkpoints.wait()
        here = self._evaluated_at == self._step
        return Outcome(
            self._state,
            self._step,
            self._observed if here else None,
            self._figures if here else None,
            self._stopped(),
        )

    def _tell(self, hook: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, hook)(*arguments)

    def _enter(self, phase: str, step: int) -> None:
        for callback in self._callbacks:
            callback.on_phase(phase, step)

    def _due(self, every: int) -> bool:
        return due(every, self._step, self._run.steps)

    def _advance(self, ahead: Iterator[Batch]) -> None:
        """Starts one update, and waits for the one before the last."""
        self._enter(READING, self._step + 1)
        batch = next(ahead, None)
        if batch is None:
            raise ValueError(
                f"The batches end after {self._step} steps, and steps={self._run.steps}. Give more "
                "batches, or fewer steps."
            )
        self._tell("on_batch", self._step, bool(self._pending) and _computing(self._pending[-1][1]))
        self._enter(STEP if self._step > self._run.first else COMPILING, self._step + 1)
        examples = _examples(batch)
        with contextlib.ExitStack() as around:
            for callback in self._around:
                around.enter_context(callback.around_step(self._step, self._state))
            self._state, metrics = self._train_step(self._state, batch)
        self._step += 1
        self._pending.append((self._step, metrics))
        self._collect(RUN_AHEAD)
        self._tell("on_dispatch", self._step, examples)

    def _collect(self, limit: int = 0) -> None:
        """Waits for the metrics of all steps but the last `limit`, and hands them on."""
        run = self._run
        while len(self._pending) > limit:
            step, metrics = self._pending.popleft()
            self._enter(STEP, step)
            values = {
                name: value if np.ndim(value) else float(value)
                for name, value in jax.device_get(metrics).items()
            }
            if run.nonfinite_limit is not None:
                kept = None if self._saving is None else self._saving.checkpoints.steps
                nonfinite.check(
                    values, step, run.nonfinite_limit, learning_rate=run.learning_rate, kept=kept
                )
            self._tell("on_step", step, values)

    def _evaluate_if_due(self) -> None:
        if self._evaluation is None or not self._due(self._evaluation.every):
            return
        self._collect()
        repeated = self._evaluated_at == self._step
        if repeated and self._step != self._run.steps:
            return
        self._tell("before_evaluation", self._step)
        self._enter(EVALUATION if self._evaluations else COMPILING, self._step)
        self._observed = self._evaluation.evaluate(self._state, self._asked)
        self._tell("after_evaluation", self._step, self._observed is not None and not repeated)
        if self._observed is None:
            return
        self._evaluations += 1
        self._enter(REPORT, self._step)
        self._figures = self._evaluation.report(self._observed)
        self._evaluated_at = self._step
        self._tell("on_evaluation", self._step, self._figures, repeated)
        if not repeated:
            self._save()

    def _asked(self) -> bool:
        """Whether to stop. An evaluation asks before each batch; by the second it is compiled."""
        self._batches_asked += 1
        if self._batches_asked > 1:
            self._enter(EVALUATION, self._step)
        return self._stopped() is not None

    def _save_if_due(self) -> None:
        if self._saving is not None and (self._due(self._saving.every) or self._stopped()):
            self._collect()
            self._save()

    def _save(self) -> None:
        evaluated = self._evaluated_at == self._step
        if self._saving is None or self._saved == (self._step, evaluated):
            return
        self._enter(CHECKPOINT, self._step)
        meta = {**self._saving.meta, "evaluated": evaluated}
        for callback in self._callbacks:
            meta |= callback.to_save()
        self._saving.checkpoints.save(
            self._step,
            self._layout.fetch(self._state),
            meta=meta,
            metrics=self._figures if evaluated else None,
        )
        self._saved = (self._step, evaluated)

    def _ahead(self, source: Iterator[HostBatch]) -> Iterator[Batch]:
        """The batches on the device, each transferred one step before it is needed."""
        queue: deque[Batch] = deque()
        for batch in source:
            queue.append(self._layout.shard(batch))
            if len(queue) > 1:
                yield queue.popleft()
        yield from queue


def _from(batches: Batches, step: int) -> Iterator[HostBatch]:
    iterate = getattr(batches, "iterate", batches if callable(batches) else None)
    return iterate(step) if iterate is not None else itertools.islice(iter(batches), step, None)  # type: ignore[arg-type]


def _examples(batch: Batch) -> int:
    """The number of examples of a batch, of all devices of a layout or of R runs."""
    if "mask" in batch:
        return int(np.prod(batch["mask"].shape))
    return len(next(iter(batch.values())))


def _computing(metrics: Mapping[str, Any]) -> bool:
    """Whether the device is still computing a step."""
    for value in metrics.values():
        return isinstance(value, jax.Array) and not value.is_ready()  # type: ignore[attr-defined]
    return False
