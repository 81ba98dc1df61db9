"""What goes along with a training run: the hooks that `cnn_jax.train.loop.fit` calls.

A log, a watchdog, a profile and a count of productive seconds are each a `Callback`:

    class Losses(Callback):
        def __init__(self):
            self.losses = []

        def on_step(self, step, metrics):
            self.losses.append(metrics["loss"])

The hooks of one run are called from the thread that trains, in the order of the callbacks given. An
error in a hook ends the run.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from cnn_jax.typing import PyTree

# The phases of a run. Each is entered with the number of the step that it is about.
COMPILING, STEP, READING = "compiling", "computing", "reading data"
EVALUATION, REPORT = "evaluation", "figures of the evaluation"
CHECKPOINT, LOG = "checkpoint", "writing the log"


def due(every: int, step: int, steps: int) -> bool:
    """Whether something done every `every` steps, and at the end, is due after `step` updates of
    `steps`. With `every` = 0 it is done only at the end."""
    return step == steps or (every > 0 and step > 0 and step % every == 0)


_NOTHING = contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as its callbacks see it.

    Attributes:
        first: number of updates made before the run, or before it was resumed.
        steps: number of updates at its end.
        resumed: the meta of the checkpoint that it resumes from; {} for a new run.
        learning_rate: number of updates made -> learning rate of the next one; None if not known.
        nonfinite_limit: see `fit`.
        enter: (phase, step) -> None: tells all callbacks of a new phase.
    """

    first: int
    steps: int
    resumed: Mapping[str, Any]
    learning_rate: Callable[[int], float] | None
    nonfinite_limit: int | None
    enter: Callable[[str, int], None]


class Callback:
    """A companion of a run. Every method does nothing; override those that are wanted.

    It is a context manager around the whole run, so that it ends also after an error. `step` is the
    number of updates made, if not said otherwise. The device lags behind: `on_step` comes
    `loop.RUN_AHEAD` steps after `on_dispatch`, when the metrics are there.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def on_begin(self, run: Run) -> None:
        """The run begins; what `to_save` returned is in `run.resumed`."""

    def on_phase(self, phase: str, step: int) -> None:
        """The run enters a phase.

        Args:
            phase: one of the phases above.
            step: the update that is being made, from 1; or the last one made, for the phases that
                come after an update.
        """

    def on_batch(self, step: int, busy: bool) -> None:
        """The batch for the next update is there.

        Args:
            step: number of updates made.
            busy: whether the device is still computing the update before.
        """

    def around_step(
        self, step: int, state: PyTree
    ) -> contextlib.AbstractContextManager[object, bool | None]:
        """A context manager around the start of the next update, whose input is `state`."""
        return contextlib.nullcontext()

    def on_dispatch(self, step: int, examples: int) -> None:
        """Update `step`, of so many examples, is compiled, and the device is computing it."""

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        """The metrics of update `step`: floats, or arrays [R] if the step is that of R runs."""

    def before_evaluation(self, step: int) -> None:
        """An evaluation begins."""

    def after_evaluation(self, step: int, counts: bool) -> None:
        """The evaluation has ended, before its figures are made.

        Args:
            step: number of updates made.
            counts: False if it was aborted by a stop, or repeats one made before an interruption.
        """

    def on_evaluation(self, step: int, figures: Any, repeated: bool) -> None:
        """The figures of an evaluation that was not aborted.

        Args:
            step: number of updates made.
            figures: what `Evaluation.report` returns: named metrics.
            repeated: whether it repeats one made before an interruption.
        """

    def to_save(self) -> dict[str, Any]:
        """What the checkpoint keeps for a resumed run: JSON, under names of its own."""
        return {}

    def on_end(self, step: int) -> None:
        """The run has reached its end or was stopped, and the last checkpoint is being written."""


class Callbacks(contextlib.AbstractContextManager["Callbacks", None]):
    """The callbacks of a run together, in their order; a context manager around all of theirs."""

    def __init__(self, callbacks: Sequence[Callback]):
        self._callbacks = tuple(callbacks)
        self._around = [
            callback
            for callback in self._callbacks
            if type(callback).around_step is not Callback.around_step
        ]
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            for callback in self._callbacks:
                held.enter_context(callback)
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

    def tell(self, hook: str, *arguments: Any) -> None:
        """Calls one hook of each."""
        for callback in self._callbacks:
            getattr(callback, hook)(*arguments)

    def enter(self, phase: str, step: int) -> None:
        """Tells each of a new phase."""
        for callback in self._callbacks:
            callback.on_phase(phase, step)

    def around_step(
        self, step: int, state: PyTree
    ) -> contextlib.AbstractContextManager[object, bool | None]:
        """The context managers of each around the start of a step."""
        if not self._around:
            return _NOTHING
        held = contextlib.ExitStack()
        for callback in self._around:
            held.enter_context(callback.around_step(step, state))
        return held

    def to_save(self) -> dict[str, Any]:
        """What the checkpoint keeps for all of them."""
        return {name: value for each in self._callbacks for name, value in each.to_save().items()}


class Started(Callback):
    """Calls `function` once the first step is compiled and running."""

    def __init__(self, function: Callable[[], None]):
        self._function = function
        self._first = 0

    def on_begin(self, run: Run) -> None:
        self._first = run.first

    def on_dispatch(self, step: int, examples: int) -> None:
        if step == self._first + 1:
            self._function()
