"""A profile of some training steps, by JAX's own profiler, for TensorBoard or Perfetto to show."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax

from cnn_jax.typing import PyTree


class Profile:
    """Traces the steps `start` to `stop` - 1, counted in updates made before them.

    Used as a context around the training loop, which names each step to it; the trace ends with
    the loop if not before. It is written under `directory`/plugins/profile, where TensorBoard's
    profile plug-in (`pip install xprof`) looks for it, and as a `*.trace.json.gz` for
    https://ui.perfetto.dev beside it.
    """

    def __init__(self, directory: str | Path, start: int, stop: int):
        self.directory = Path(directory)
        self.start, self.stop = start, stop
        self._tracing = False

    @contextlib.contextmanager
    def step(self, number: int, state: PyTree) -> Iterator[None]:
        """Around the dispatch of one step; `state` is its input, which is waited for at the ends.

        What runs on the device lags behind the host: without waiting, the first steps of the trace
        would be those before it, and the last would be cut off.
        """
        if self._tracing and number >= self.stop:
            jax.block_until_ready(state)
            self._end()
        elif not self._tracing and self.start <= number < self.stop:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self.directory))
            self._tracing = True
        if not self._tracing:
            yield
            return
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def _end(self) -> None:
        self._tracing = False
        jax.profiler.stop_trace()

    def __enter__(self) -> "Profile":
        return self

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
        raise ValueError(f"--profile={text}: wanted START:STOP, steps such as 10:20.")
    if int(start) >= steps:
        raise ValueError(f"--profile={text}: the run has {steps} steps only, from 0 on.")
    return int(start), int(stop)
