"""The training loop: steps, evaluation, checkpoints and an end at the right step.

It serves a single run, a run of several processes, and R runs side by side alike. What only goes
along with a run is a `cnn_jax.train.callback.Callback`.
"""

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.cpu import memory
from cnn_jax.train import feeding, nonfinite
from cnn_jax.train.callback import (
    CHECKPOINT,
    COMPILING,
    EVALUATION,
    READING,
    REPORT,
    STEP,
    Callback,
    Callbacks,
    Run,
    due,
)
from cnn_jax.train.evaluation import Evaluation
from cnn_jax.train.layout import Layout, single_device
from cnn_jax.train.saving import Saving
from cnn_jax.train.state import TrainState
from cnn_jax.train.step import TrainStep
from cnn_jax.typing import Batch

# The number of steps that the host may run ahead of the device. The metrics of a step are fetched
# this many steps later, when they are ready, so that the device never waits for the host.
RUN_AHEAD = 2


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
    batches: feeding.Batches,
    steps: int,
    layout: Layout | None = None,
    evaluation: Evaluation | None = None,
    saving: Saving | None = None,
    callbacks: Sequence[Callback] = (),
    resumed: Mapping[str, Any] | None = None,
    learning_rate: Callable[[int], float] | None = None,
    nonfinite_limit: int | None = 0,
    stopped: Callable[[], signal.Signals | None] = lambda: None,
    ended: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains until `steps` updates are made, or until `stopped` says so.

    The same state, batches and steps give the same numbers, bit for bit, whether the run was
    interrupted or not. `fit` installs no signal handlers and writes no files of its own.

    Args:
        state: initial state, placed by `layout`; training continues from its step. A compiled step
            usually donates it, so that it cannot be used again.
        train_step: compiled training step: (state, batch) -> (state, metrics), such as
            `jax.jit(make_train_step(...), donate_argnums=0)` or that of `layout.compile_train`.
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
        ended: asked after each evaluation; True makes it the last one, before `steps` are made. See
            `cnn_jax.train.patience`.

    Raises:
        ValueError: `steps` is no whole number, the state is beyond it, there are too few batches, a
            callback is none, or the metrics of a step have no names.
        NonFiniteError: the loss or the gradient is not finite, or has been so too often; the last
            good checkpoint is kept.
    """
    if isinstance(steps, bool) or not hasattr(steps, "__index__"):  # 2.5 would never be reached
        raise ValueError(f"steps={steps!r}: wanted a whole number.")
    for each in callbacks:
        if not isinstance(each, Callback):
            raise ValueError(f"callbacks: {each!r} is no Callback of cnn_jax.train.callback.")
    layout, companions = layout or single_device(), Callbacks(callbacks)
    first = int(np.ravel(layout.fetch(state.step))[0])  # [R] of R runs, which agree
    if not 0 <= first <= steps:
        raise ValueError(
            f"steps={steps}, and the state has made {first} updates already; steps counts these "
            "too. Raise it, or begin with a new state."
        )
    run = Run(first, steps, resumed or {}, learning_rate, nonfinite_limit, companions.enter)
    training = _Training(
        run, companions, state, train_step, layout, evaluation, saving, stopped, ended
    )
    with companions:
        return training.go(batches)


class _Training:
    """A run while it is under way."""

    def __init__(
        self,
        run: Run,
        callbacks: Callbacks,
        state: TrainState,
        train_step: TrainStep,
        layout: Layout,
        evaluation: Evaluation | None,
        saving: Saving | None,
        stopped: Callable[[], signal.Signals | None],
        ended: Callable[[], bool],
    ):
        self._run, self._callbacks, self._stopped, self._ended = run, callbacks, stopped, ended
        self._state, self._train_step, self._layout = state, train_step, layout
        self._evaluation, self._saving = evaluation, saving
        self._step = run.first
        self._pending: deque[tuple[int, Mapping[str, Any]]] = deque()  # steps perhaps not finished
        evaluated = bool(run.resumed.get("evaluated"))
        self._evaluated_at = run.first if evaluated else -1
        self._saved = (run.first, evaluated) if run.resumed else None
        self._observed: Any = None
        self._figures: Any = None
        self._batches_asked = self._evaluations = 0

    def go(self, batches: feeding.Batches) -> Outcome:
        self._run.enter(READING, self._step + 1)
        ahead = feeding.ahead(batches, self._step, self._layout)
        self._callbacks.tell("on_begin", self._run)
        while True:
            self._evaluate_if_due()
            self._save_if_due()
            if self._step == self._run.steps or self._ended() or self._stopped():
                break
            self._advance(ahead)
        self._collect()
        self._callbacks.tell("on_end", self._step)
        if self._saving is not None:
            self._run.enter(CHECKPOINT, self._step)
            self._saving.checkpoints.wait()
        here = self._evaluated_at == self._step
        observed, figures = (self._observed, self._figures) if here else (None, None)
        return Outcome(self._state, self._step, observed, figures, self._stopped())

    def _advance(self, ahead: Iterator[Batch]) -> None:
        """Starts one update, and waits for the one RUN_AHEAD steps before it."""
        run = self._run
        run.enter(READING, self._step + 1)
        batch = next(ahead, None)
        if batch is None:
            raise ValueError(
                f"The batches end after {self._step} steps, and steps={run.steps}. Give more "
                "batches, or fewer steps."
            )
        busy = bool(self._pending) and _computing(self._pending[-1][1])
        self._callbacks.tell("on_batch", self._step, busy)
        run.enter(STEP if self._step > run.first else COMPILING, self._step + 1)
        examples = feeding.examples(batch)  # before the batch may be donated
        with self._callbacks.around_step(self._step, self._state):
            self._state, metrics = self._train_step(self._state, batch)
        if not isinstance(metrics, Mapping):
            raise ValueError(
                f"The step returns {type(metrics).__name__} beside its state: wanted metrics by "
                "name."
            )
        self._step += 1
        self._pending.append((self._step, metrics))
        self._collect(RUN_AHEAD)
        memory.settle()
        self._callbacks.tell("on_dispatch", self._step, examples)

    def _collect(self, limit: int = 0) -> None:
        """Waits for the metrics of all steps but the last `limit`, and hands them on."""
        run = self._run
        while len(self._pending) > limit:
            step, metrics = self._pending.popleft()
            run.enter(STEP, step)
            # not device_get, which takes 20 µs longer for two scalars
            host = {name: np.asarray(value) for name, value in metrics.items()}
            values = {name: value if value.ndim else float(value) for name, value in host.items()}
            if run.nonfinite_limit is not None:
                kept = None if self._saving is None else self._saving.checkpoints.steps
                nonfinite.check(
                    values, step, run.nonfinite_limit, learning_rate=run.learning_rate, kept=kept
                )
            self._callbacks.tell("on_step", step, values)

    def _evaluate_if_due(self) -> None:
        if self._evaluation is None:
            return
        last = self._step == self._run.steps or self._ended()
        if not last and not due(self._evaluation.every, self._step, self._run.steps):
            return
        self._collect()
        repeated = self._evaluated_at == self._step
        if repeated and not last:
            return
        self._callbacks.tell("before_evaluation", self._step)
        self._run.enter(EVALUATION if self._evaluations else COMPILING, self._step)
        self._observed = self._evaluation.evaluate(self._state, self._asked)
        counts = self._observed is not None and not repeated
        self._callbacks.tell("after_evaluation", self._step, counts)
        if self._observed is None:
            return
        self._evaluations += 1
        self._run.enter(REPORT, self._step)
        self._figures = self._evaluation.report(self._observed)
        self._evaluated_at = self._step
        self._callbacks.tell("on_evaluation", self._step, self._figures, repeated)
        if not repeated:
            self._save()

    def _asked(self) -> bool:
        """Whether to stop. An evaluation asks before each batch; by the second it is compiled."""
        self._batches_asked += 1
        if self._batches_asked > 1:
            self._run.enter(EVALUATION, self._step)
        return self._stopped() is not None

    def _save_if_due(self) -> None:
        if self._saving is None:
            return
        if due(self._saving.every, self._step, self._run.steps) or self._stopped():
            self._collect()
            self._save()

    def _save(self) -> None:
        evaluated = self._evaluated_at == self._step
        if self._saving is None or self._saved == (self._step, evaluated):
            return
        self._run.enter(CHECKPOINT, self._step)
        self._saving.checkpoints.save(
            self._step,
            self._layout.fetch(self._state),
            meta={**self._saving.meta, **self._callbacks.to_save(), "evaluated": evaluated},
            metrics=self._figures if evaluated else None,
        )
        self._saved = (self._step, evaluated)


def _computing(metrics: Mapping[str, Any]) -> bool:
    """Whether the device is still computing a step."""
    for value in metrics.values():
        return isinstance(value, jax.Array) and not value.is_ready()  # type: ignore[attr-defined]
    return False
