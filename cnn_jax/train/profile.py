"""A profile of some training steps by JAX's profiler, for TensorBoard or Perfetto."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from cnn_jax.train.callback import Callback
from cnn_jax.typing import PyTree


class Profile(Callback):
    """Traces the steps `start` to `stop` - 1, counted in updates made before them.

    The trace ends with the training loop at the latest. It is written to
    `directory`/plugins/profile, where TensorBoard's profile plug-in (`pip install xprof`) finds it,
    together with a `*.trace.json.gz` for https://ui.perfetto.dev.
    """

    def __init__(self, directory: str | Path, start: int, stop: int):
        self.directory = Path(directory)
        self.start, self.stop = start, stop
        self._tracing = False

    @contextlib.contextmanager
    def around_step(self, step: int, state: PyTree) -> Iterator[None]:
        """Traces the start of one step with input `state`, which is awaited at both ends.

        The device lags behind the host: without waiting, the trace would begin with earlier steps,
        and the last ones would be cut off.
        """
        if self._tracing and step >= self.stop:
            jax.block_until_ready(state)
            self._end()
        elif not self._tracing and self.start <= step < self.stop:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self.directory))
            self._tracing = True
        if not self._tracing:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def _end(self) -> None:
        self._tracing = False
        jax.profiler.stop_trace()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tracing:
            self._end()


def parse_range(text: str, steps: int) -> tuple[int, int] | None:
    """'10:20' -> (10, 20); '' -> None.

    Raises:
        ValueError: it is not START:STOP, or not within the `steps` of the run.
    """
    if not text:
        return None
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise ValueError(f"profile={text}: wanted START:STOP, steps such as 10:20.")
    if int(start) >= steps:
        raise ValueError(f"profile={text}: the run has only {steps} steps, from 0 on.")
    return int(start), int(stop)
