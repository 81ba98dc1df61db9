"""Goodput: the share of a run's time that contributes to its result.

The definition is that of the scheduling and runtime parts of Google's ML Productivity Goodput
("Introducing ML Productivity Goodput", Google Cloud, 2024; the library ml-goodput-measurement):

    goodput = productive seconds / all seconds since the first start of the run

The time of steps and evaluations that are part of the final result is productive. Not productive
are: compilation; restoring; saving, as far as the run waits for it; waiting for data while the
device is idle; steps that a crash undid; an evaluation that is repeated or was aborted; drawing;
and the time between attempts. A step that `on_nonfinite` skips or rolls back counts as productive,
and so does waiting for another process.

Each checkpoint holds the productive seconds, so that a crash also undoes those it lost.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.train.callback import CHECKPOINT, READING, Callback, Run

ATTEMPTS_FILE = "attempts.json"


class Attempts(NamedTuple):
    """The starts of a run.

    Attributes:
        began: time of the first start, in seconds since 1970.
        starts: number of starts, including this one.
        ended: time of the result, in seconds since 1970; None before it.
    """

    began: float
    starts: int
    ended: float | None = None


def begin_attempt(
    path: Path,
    *,
    checkpoint: Mapping[str, Any] | None = None,
    now: Callable[[], float] = time.time,
) -> Attempts:
    """Counts this start of a run whose attempts are recorded in `path`, unless it has ended.

    Without a record, the values of the checkpoint that the run resumes from are used.
    """
    before = _read(path)
    if before is None and checkpoint:
        before = Attempts(float(checkpoint["began"]), int(checkpoint["starts"]))
    if before is None or (before.ended is not None and not checkpoint):
        before = Attempts(now(), 0)  # a run that ended without a checkpoint was another run
    if before.ended is None:
        before = before._replace(starts=before.starts + 1)
        _write(path, before)
    return before


def end_run(path: Path, attempts: Attempts, *, now: Callable[[], float] = time.time) -> Attempts:
    """Records the time of the result; later work on a finished run does not count."""
    if attempts.ended is None:
        attempts = attempts._replace(ended=now())
        _write(path, attempts)
    return attempts


def figures(attempts: Attempts, productive: float) -> dict[str, float | int]:
    """The goodput figures of a finished run for result.json; `productive` is in seconds.

    Returns:
        goodput: a share in 0..1; wall_seconds_total: seconds since the first start;
        wall_seconds_productive; and restarts: starts after the first.
    """
    assert attempts.ended is not None
    total = max(attempts.ended - attempts.began, productive, 1e-9)  # clocks may be set back
    return {
        "goodput": round(productive / total, 4),
        "wall_seconds_total": round(total, 2),
        "wall_seconds_productive": round(productive, 2),
        "restarts": max(attempts.starts - 1, 0),
    }


def _read(path: Path) -> Attempts | None:
    """The recorded attempts; None if there is no readable record."""
    try:
        noted = json.loads(path.read_text())
        ended = noted.get("ended")
        ended = None if ended is None else float(ended)
        found = Attempts(float(noted["began"]), int(noted["starts"]), ended)
        return found if math.isfinite(found.began + (found.ended or 0.0)) else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return None


def _write(path: Path, attempts: Attempts) -> None:
    partial = path.with_suffix(".json.new")
    partial.write_text(json.dumps(attempts._asdict()) + "\n")
    partial.replace(path)


class Meter(Callback):
    """Counts productive seconds.

    Give it to `fit`, and what compiles through `compiled`. `now` returns seconds from an arbitrary
    origin.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._before = 0.0  # the count before an activity that may not be productive
        self._saving = contextlib.ExitStack()
        self._since: float | None = None
        self._seconds = 0.0
        self._depth = 0
        self._shapes: set[Any] = set()

    @property
    def seconds(self) -> float:
        """The productive seconds of all attempts so far, without those a crash undid."""
        running = 0.0 if self._since is None or self._depth else self._now() - self._since
        return self._seconds + running

    def begin(self, seconds: float = 0.0) -> None:
        """Starts counting; `seconds` is the count of the checkpoint that the run resumes from."""
        self._seconds, self._since = seconds, self._now()

    def end(self) -> None:
        self._seconds, self._since = self.seconds, None

    @contextlib.contextmanager
    def lost(self) -> Iterator[None]:
        """The time within the block does not count."""
        self._seconds, self._since = self.seconds, None if self._since is None else self._now()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._since is not None:
                self._since = self._now()

    def back_to(self, seconds: float) -> None:
        """Resets the count to an earlier value: the time since then does not count after all."""
        self._seconds = seconds
        if self._since is not None:
            self._since = self._now()

    def on_begin(self, run: Run) -> None:
        self.begin(run.resumed.get("wall_productive", 0.0))

    def on_phase(self, phase: str, step: int) -> None:
        self._saving.close()
        if phase == CHECKPOINT:
            self._saving.enter_context(self.lost())
        elif phase == READING:
            self._before = self.seconds

    def on_batch(self, step: int, busy: bool) -> None:
        """The time of waiting for data counts if the device was computing meanwhile."""
        if not busy:
            self.back_to(self._before)

    def before_evaluation(self, step: int) -> None:
        self._before = self.seconds

    def after_evaluation(self, step: int, counts: bool) -> None:
        if not counts:
            self.back_to(self._before)

    def to_save(self) -> dict[str, Any]:
        return {"wall_productive": self.seconds}

    def on_end(self, step: int) -> None:
        self.end()

    def compiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `step`, a function of a state and a batch: its first call for each shape of batch,
        which compiles, does not count. (A call only starts the computation.)"""

        def call(state: Any, batch: Mapping[str, Any]) -> Any:
            shapes = tuple(leaf.shape for leaf in batch.values())
            if (step, shapes) in self._shapes:
                return step(state, batch)
            self._shapes.add((step, shapes))
            with self.lost():
                return step(state, batch)

        return call
