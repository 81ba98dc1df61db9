"""The training loop: steps, evaluation, checkpoints, interruption and errors."""

import contextlib
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.train import hosts, signals
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.goodput import Meter
from cnn_jax.train.layout import Layout, pad_batch
from cnn_jax.train.log import RunLog
from cnn_jax.train.profile import Profile
from cnn_jax.train.state import TrainState
from cnn_jax.train.step import EvalStep, TrainStep
from cnn_jax.train.watchdog import (
    CHECKPOINT,
    COMPILING,
    EVALUATION,
    LOG,
    READING,
    REPORT,
    STEP,
    Watchdog,
)
from cnn_jax.typing import Batch, HostBatch, Observed

# The number of steps that the host may run ahead of the device. The metrics of a step are fetched
# this many steps later, when they are ready, so that the device never waits for the host.
RUN_AHEAD = 2


class NonFiniteError(ArithmeticError):
    """The loss or the gradient is NaN or infinite."""


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

    def due(self, every: int, step: int) -> bool:
        """Whether something done every `every` steps is due after `step` updates."""
        return step == self.steps or (every > 0 and step > 0 and step % every == 0)


class Outcome(NamedTuple):
    """The result of `fit`.

    Attributes:
        state: the state, placed by the layout.
        step: number of updates made.
        observed: observations of the evaluation at this step, or None if it was not due.
        interrupted: the signal that stopped the run, or None.
    """

    state: TrainState
    step: int
    observed: Observed | None
    interrupted: signal.Signals | None


def evaluate(
    eval_step: EvalStep,
    state: TrainState,
    batches: Iterable[HostBatch],
    layout: Layout,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Observed | None:
    """Runs `eval_step` over `batches` and adds up the observations.

    Args:
        eval_step: evaluation step compiled by `layout`.
        state: state placed by `layout`.
        batches: masked numpy batches of any size; each is padded to the number of devices. Every
            process supplies its own rows, and as many batches as the others.
        layout: the layout.
        stop: called before each batch; the evaluation is aborted once it returns True.

    Returns:
        Observed in numpy, with the sums as float64; None if it was aborted.
    """
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


def fit(
    state: TrainState,
    *,
    plan: Plan,
    layout: Layout,
    train_step: TrainStep,
    batches: Callable[[int], Iterator[HostBatch]],
    evaluator: Callable[[TrainState, Callable[[], bool]], Observed | None],
    report: Callable[[Observed], dict[str, float]],
    learning_rate: Callable[[int], float],
    log: RunLog,
    checkpoints: Checkpoints,
    meta: dict[str, Any],
    resumed: dict[str, Any] | None = None,
    meter: Meter | None = None,
    nonfinite_limit: int = 0,
    profile: Profile | None = None,
    speed: Callable[[float], dict[str, float]] = lambda rate: {},
    started: Callable[[], None] = lambda: None,
    watchdog: Watchdog | None = None,
) -> Outcome:
    """Trains until `plan.steps`, or until SIGTERM, SIGHUP or Ctrl-C, which end with a checkpoint.

    Args:
        state: initial state, placed by `layout`; training continues from its step. It is donated.
        plan: the schedule of the run.
        layout: the layout.
        train_step: training step compiled by `layout`.
        batches: step -> an iterator over the batches from that step on.
        evaluator: (state, stop) -> Observed, or None if `stop()` became true meanwhile.
        report: Observed -> named metrics.
        learning_rate: step -> learning rate, for the log.
        log: log of the metrics.
        checkpoints: checkpoints of the states.
        meta: JSON saved with every state.
        resumed: the meta of the checkpoint that `state` comes from; None for a new run.
        meter: counts productive seconds, from those of that checkpoint on.
        nonfinite_limit: number of non-finite steps that `train_step` may skip or roll back in the
            whole run.
        profile: profile of some of the steps.
        speed: examples per second -> other measures of speed, by name.
        started: called once the first step is compiled and running.
        watchdog: is told the phase of the loop; it ends a run that hangs.

    Raises:
        NonFiniteError: the loss or the gradient is not finite, or has been so too often; the last
            good checkpoint is kept.
    """
    resumed, meter = resumed or {}, meter or Meter()
    train_step = meter.compiled(train_step)
    first = step = int(layout.fetch(state.step))
    window = Window(resumed.get("window", {}))
    evaluated_at = step if resumed.get("evaluated") else -1
    saved = (step, evaluated_at == step) if resumed else None
    observed: Observed | None = None
    figures: dict[str, float] | None = None
    pending: deque[tuple[int, dict]] = deque()
    bar = log.progress(plan.steps, step)
    clock = Clock()
    at = watchdog.at if watchdog is not None else lambda phase, step: None

    def collect(limit: int) -> None:
        while len(pending) > limit:
            done, metrics = pending.popleft()
            at(STEP, done)
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            count, spoiled = values.pop("nonfinite", 0), values.pop("spoiled", 0)
            if spoiled and count <= nonfinite_limit:
                log.say(_spoiled(values, done, int(count), nonfinite_limit))
            else:
                _check_finite(values, done, learning_rate(done - 1), checkpoints, bool(spoiled))
                window.add(values)
            if plan.due(plan.log_every, done):
                at(LOG, done)
                row = {**window.means(), "learning_rate": float(learning_rate(done - 1))}
                window.clear()
                if count:
                    row["nonfinite"] = int(count)
                rate = clock.examples_per_second()
                other = speed(rate)
                log.row(done, "train", row, images_per_second=rate, **other)
                line = f"loss {row.get('loss', math.nan):.4f}  {_rate(rate, other)}"
                if bar is None:
                    eta = clock.remaining(done, plan.steps)
                    log.say(f"step {done}/{plan.steps}  {line}  ETA {eta:,.0f} s")
                else:
                    bar.update(bar.task_ids[0], figures=line)

    @meter.lost()
    def save() -> None:
        nonlocal saved
        evaluated = evaluated_at == step
        if saved != (step, evaluated):
            at(CHECKPOINT, step)
            checkpoints.save(
                step,
                layout.fetch(state),
                # a copy: the file is written in the background, while the window changes
                meta={
                    **meta,
                    "window": dict(window.sums),
                    "evaluated": evaluated,
                    "wall_productive": meter.seconds,
                },
                metrics=figures if evaluated else None,
            )
            saved = (step, evaluated)

    batches_asked = evaluations = 0

    def asked() -> bool:
        """Whether to stop. An evaluation asks before each batch; by the second it is compiled."""
        nonlocal batches_asked
        batches_asked += 1
        if batches_asked > 1:
            at(EVALUATION, step)
        return stopped() is not None

    with contextlib.ExitStack() as held:
        stopped = held.enter_context(hosts.stop_signals() if hosts.several() else stop_signals())
        if profile is not None:
            held.enter_context(profile)
        if watchdog is not None:
            held.enter_context(watchdog)
        at(READING, step + 1)
        ahead = _ahead(batches(step), layout)
        meter.begin(resumed.get("wall_productive", 0.0))
        while True:
            if plan.due(plan.evaluate_every, step):
                collect(0)
                if evaluated_at != step or step == plan.steps:
                    before = meter.seconds
                    clock.pause()
                    at(EVALUATION if evaluations else COMPILING, step)
                    observed = evaluator(state, asked)
                    clock.resume()
                    if observed is None or evaluated_at == step:  # aborted, or repeated
                        meter.back_to(before)
                    if observed is not None:
                        evaluations += 1
                        at(REPORT, step)
                        figures = report(observed)
                        at(LOG, step)
                        fresh, evaluated_at = evaluated_at != step, step
                        if fresh:
                            log.row(step, "test", figures)
                        # metrics of single classes, 'iou/road', are for the log only
                        table = "  ".join(
                            f"{name} {value:.4f}"
                            for name, value in figures.items()
                            if "/" not in name
                        )
                        log.say(f"step {step}/{plan.steps}  test: {table}")
                        if fresh:
                            save()
            if plan.due(plan.checkpoint_every, step) or stopped():
                collect(0)
                save()
            if step == plan.steps or stopped():
                break
            at(READING, step + 1)
            before = meter.seconds
            batch = next(ahead)
            meter.waited_since(before, pending[-1][1] if pending else {})
            at(STEP if step > first else COMPILING, step + 1)
            size = int(np.prod(batch["mask"].shape))
            with profile.step(step, state) if profile else contextlib.nullcontext():
                state, metrics = train_step(state, batch)
            step += 1
            if step == first + 1:
                started()
            pending.append((step, metrics))
            collect(RUN_AHEAD)
            clock.tick(size, step - first)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=step)
        meter.end()
        if bar is not None:
            bar.stop()
        at(CHECKPOINT, step)
        checkpoints.wait()
        interrupted = stopped()
    return Outcome(state, step, observed if evaluated_at == step else None, interrupted)


class Window:
    """Running means of the training metrics since the last row. They are part of the checkpoint, so
    that a resumed run writes the same rows."""

    def __init__(self, sums: dict[str, Sequence[float]]):
        self.sums = {name: list(pair) for name, pair in sums.items()}

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + value, count + 1]

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums.items()}

    def clear(self) -> None:
        self.sums = {}


class Clock:
    """Examples per second since the last reading, without evaluation and the first step, which
    compiles."""

    def __init__(self):
        self._examples = 0
        self._steps = 0
        self._since = self._begin = time.monotonic()
        self._paused = 0.0

    def tick(self, examples: int, steps_done: int) -> None:
        if steps_done == 1:
            self._since = self._begin = time.monotonic()
        else:
            self._examples += examples
            self._steps += 1

    def pause(self) -> None:
        self._paused = time.monotonic()

    def resume(self) -> None:
        pause = time.monotonic() - self._paused
        self._since += pause
        self._begin += pause

    def examples_per_second(self) -> float:
        now = time.monotonic()
        rate = self._examples / max(now - self._since, 1e-9)
        self._examples, self._since = 0, now
        return rate

    def remaining(self, step: int, steps: int) -> float:
        """Estimated seconds until `steps`, without evaluations."""
        each = (time.monotonic() - self._begin) / max(self._steps, 1)
        return each * (steps - step)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], signal.Signals | None]]:
    """Turns SIGTERM, SIGHUP and the first Ctrl-C into requests: the yielded function returns the
    signal, or None.

    A second Ctrl-C is a KeyboardInterrupt as usual. Outside the main thread this does nothing.
    """
    received: list[signal.Signals] = []

    def remember(number, frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in signals.that_stop():
            before[number] = signal.signal(number, remember)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _ahead(source: Iterator[HostBatch], layout: Layout) -> Iterator[Batch]:
    """The batches on the device, each transferred one step before it is needed."""
    queue: deque[Batch] = deque()
    for batch in source:
        queue.append(layout.shard(batch))
        if len(queue) > 1:
            yield queue.popleft()
    yield from queue


def _rate(images: float, other: dict[str, float]) -> str:
    """'1,200 images/s', and the share of the hardware's peak where it is known."""
    share = f"  MFU {other['mfu']:.1%}" if "mfu" in other else ""
    return f"{images:,.0f} images/s{share}"


def _spoiled(values: dict[str, float], step: int, count: int, limit: int) -> str:
    return (
        f"step {step}: {_what(values)}; continuing from an earlier state "
        f"({count} of at most {limit} such steps)"
    )


def _what(values: dict[str, float]) -> str:
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    return " and ".join(bad) or "a parameter or a statistic is not finite"


def _check_finite(
    values: dict[str, float],
    step: int,
    learning_rate: float,
    checkpoints: Checkpoints,
    spoiled: bool = False,
) -> None:
    if not spoiled and all(math.isfinite(value) for value in values.values()):
        return
    kept = checkpoints.steps()
    good = f"The checkpoint of step {kept[-1]} is good" if kept else "There is no checkpoint yet"
    raise NonFiniteError(
        f"{_what(values)} at step {step}, with a learning rate of {learning_rate:g}"
        f"{', once more than --nonfinite_limit allows' if spoiled else ''}. {good}. Lower the "
        "learning rate, lengthen its warm-up, or clip the gradient."
    )
