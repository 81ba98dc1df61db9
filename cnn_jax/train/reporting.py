"""The rows of a run in its log, and its line on the console."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cnn_jax.train.callback import LOG, Callback, Run, due
from cnn_jax.train.log import Bar, RunLog
from cnn_jax.train.nonfinite import what


class Reporting(Callback):
    """Writes the means of the training metrics every `every` steps, and each evaluation.

    On a terminal a progress bar goes along; anywhere else, plain lines.
    """

    def __init__(
        self,
        log: RunLog,
        *,
        every: int = 0,
        speed: Callable[[float], dict[str, float]] = lambda rate: {},
        part: str = "test",
    ):
        """Prepares to write.

        Args:
            log: log of the metrics.
            every: steps between rows of training metrics; 0: one row, at the end.
            speed: examples per second -> other measures of speed, by name.
            part: name of what is evaluated: 'test', or 'val'.
        """
        self._log, self._every, self._speed, self._part = log, every, speed, part
        self._window, self._clock = Window({}), Clock()
        self._bar: Bar | None = None
        self._undefined: list[str] = []  # metrics that were said to be
        self._run: Run

    def on_begin(self, run: Run) -> None:
        self._run = run
        self._window, self._clock = Window(run.resumed.get("window", {})), Clock()
        self._bar = self._log.progress(run.steps, run.first)

    def on_dispatch(self, step: int, examples: int) -> None:
        self._clock.start(examples)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._clock.end()
        values = dict(metrics)
        count, spoiled = int(values.pop("nonfinite", 0)), values.pop("spoiled", 0)
        if spoiled:
            most = self._run.nonfinite_limit
            self._log.say(
                f"step {step}: {what(values)}; continuing from an earlier state "
                f"({count}{'' if most is None else f' of at most {most}'} such steps)"
            )
        else:
            self._window.add(values)
        if due(self._every, step, self._run.steps):
            self._run.enter(LOG, step)
            self._write(step, count)

    def _write(self, step: int, count: int) -> None:
        row = self._window.means()
        self._window.clear()
        if self._run.learning_rate is not None:
            row["learning_rate"] = float(self._run.learning_rate(step - 1))
        if count:
            row["nonfinite"] = count
        rate = self._clock.examples_per_second()
        speeds = {} if rate is None else {"images_per_second": rate, **self._speed(rate)}
        self._log.row(step, "train", row, **speeds)
        line = f"loss {row.get('loss', math.nan):.4f}{_shown(rate, speeds)}"
        if self._bar is None:
            eta = self._clock.remaining(step, self._run.steps)
            left = "" if eta is None else f"  ETA {eta:,.0f} s"
            self._log.say(f"step {step}/{self._run.steps}  {line}{left}")
        else:
            self._bar.update(self._bar.task_ids[0], figures=line)

    def before_evaluation(self, step: int) -> None:
        self._clock.pause()

    def after_evaluation(self, step: int, counts: bool) -> None:
        self._clock.resume()

    def on_evaluation(self, step: int, figures: Any, repeated: bool) -> None:
        self._run.enter(LOG, step)
        if not repeated:
            self._log.row(step, self._part, figures)
        # metrics of single classes, 'iou/road', are for the log only
        shown = {name: value for name, value in figures.items() if "/" not in name}
        undefined = [name for name, value in shown.items() if not math.isfinite(value)]
        table = "  ".join(f"{n} {v:.4f}" for n, v in shown.items() if n not in undefined)
        where = f"step {step}/{self._run.steps}  {self._part}"
        self._log.say(f"{where}: {table or 'nothing is defined'}")
        if undefined and undefined != self._undefined:
            self._undefined = undefined
            self._log.say(
                f"Undefined for this split, and null in metrics.jsonl: {', '.join(undefined)}."
            )

    def to_save(self) -> dict[str, Any]:
        # a copy: the file is written in the background, while the window changes
        return {"window": dict(self._window.sums)}

    def on_end(self, step: int) -> None:
        if self._bar is not None:
            self._bar.stop()


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
    """Examples per second, without evaluations and the first step, which compiles.

    A step counts when its metrics are there. The time is that between two such moments, or between
    the starts of these two steps if that is longer: the device is ahead of the metrics where
    reading is slow, and behind the starts where it is not, at the ends of a run.
    """

    def __init__(self):
        self._started: deque[tuple[int, float]] = deque()  # examples and start of each step
        self._examples = self._steps = 0
        self._paused, self._pauses = 0.0, 0.0
        self._first: tuple[float, float] | None = None  # start and end of the first step
        self._before = self._last = (0.0, 0.0)

    def _now(self) -> float:
        return time.monotonic() - self._pauses

    def start(self, examples: int) -> None:
        """A step of so many examples was given to the device."""
        self._started.append((examples, self._now()))

    def end(self) -> None:
        """The oldest step that was given to the device has ended."""
        examples, started = self._started.popleft()
        self._last = started, self._now()
        if self._first is None:
            self._first = self._before = self._last
        else:
            self._examples += examples
            self._steps += 1

    def pause(self) -> None:
        self._paused = time.monotonic()

    def resume(self) -> None:
        self._pauses += time.monotonic() - self._paused

    def examples_per_second(self) -> float | None:
        """The rate since the last reading; None if only the first step was made since."""
        seconds = _between(self._before, self._last)
        rate = self._examples / max(seconds, 1e-9) if self._examples else None
        self._examples, self._before = 0, self._last
        return rate

    def remaining(self, step: int, steps: int) -> float | None:
        """Estimated seconds until `steps`, without evaluations; None if that is not known yet."""
        if self._first is None or not self._steps:
            return None
        return _between(self._first, self._last) / self._steps * (steps - step)


def _between(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(other[0] - one[0], other[1] - one[1])


def _shown(rate: float | None, other: dict[str, float]) -> str:
    """'  1,200 images/s', and the share of the hardware's peak where it is known."""
    if rate is None:
        return ""
    share = f"  MFU {other['mfu']:.1%}" if "mfu" in other else ""
    return f"  {rate:,.0f} images/s{share}"
