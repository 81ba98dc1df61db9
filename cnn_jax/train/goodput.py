"""Goodput: the share of a run's time in which it came nearer to its end.

As Google's ML Productivity Goodput has it ("Introducing ML Productivity Goodput", Google Cloud,
2024; the library ml-goodput-measurement), of which this is the scheduling and the runtime part:

    goodput = productive seconds / all seconds since the first start of `experiments.training.run`

Productive is what the steps and the evaluations took that are part of the final result. Not
productive are: compiling; restoring; saving, as far as the run waits for it; waiting for data while
the device has nothing to do; steps that a crash undid; an evaluation that is made a second time,
or was broken off; drawing; and whatever lies between two attempts. A step that `on_nonfinite` skips
or rolls back counts as productive, and so does waiting for another process.

The productive seconds are kept in each checkpoint, so that a crash takes back what it undoes.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax

ATTEMPTS_FILE = "attempts.json"


class Attempts(NamedTuple):
    """How often a run was started.

    Attributes:
        began: of the first start, in seconds since 1970.
        starts: how many, this one included.
        ended: when the result was there, in seconds since 1970; None before.
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
    """Counts this start of a run whose attempts are noted in `path`, unless it has ended.

    Where nothing is noted, what the checkpoint gone on from remembers is taken.
    """
    before = _read(path)
    if before is None and checkpoint:
        before = Attempts(float(checkpoint["began"]), int(checkpoint["starts"]))
    if before is None or (before.ended is not None and not checkpoint):
        before = Attempts(now(), 0)  # what has ended and left no checkpoint was another run
    if before.ended is None:
        before = before._replace(starts=before.starts + 1)
        _write(path, before)
    return before


def end_run(path: Path, attempts: Attempts, *, now: Callable[[], float] = time.time) -> Attempts:
    """Notes that the result is there; what is done with a finished run later costs it nothing."""
    if attempts.ended is None:
        attempts = attempts._replace(ended=now())
        _write(path, attempts)
    return attempts


def figures(attempts: Attempts, productive: float) -> dict[str, float | int]:
    """For result.json, of a run that has ended; `productive` in seconds.

    Returns:
        goodput: a share, 0 to 1; wall_seconds_total: since the first start; and
        wall_seconds_productive, and restarts: starts after the first.
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
    """None where nothing is noted that could be read."""
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


class Meter:
    """Counts productive seconds; what is not productive is told to it.

    `now` gives seconds, from any beginning.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._since: float | None = None
        self._seconds = 0.0
        self._depth = 0
        self._shapes: set[Any] = set()

    @property
    def seconds(self) -> float:
        """The productive seconds of all attempts so far, those a crash undid left out."""
        running = 0.0 if self._since is None or self._depth else self._now() - self._since
        return self._seconds + running

    def begin(self, seconds: float = 0.0) -> None:
        """Time counts from here on; `seconds` did already, up to the checkpoint gone on from."""
        self._seconds, self._since = seconds, self._now()

    def end(self) -> None:
        self._seconds, self._since = self.seconds, None

    @contextlib.contextmanager
    def lost(self) -> Iterator[None]:
        """What happens inside does not count."""
        self._seconds, self._since = self.seconds, None if self._since is None else self._now()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._since is not None:
                self._since = self._now()

    def back_to(self, seconds: float) -> None:
        """What happened since there were so many productive seconds does not count after all."""
        self._seconds = seconds
        if self._since is not None:
            self._since = self._now()

    def waited_since(self, seconds: float, ahead: Mapping[str, Any]) -> None:
        """The run waited for data since there were so many productive seconds. That counts if the
        device computes still: `ahead`, the figures of the last step, of which one stands for all.
        """
        for figure in ahead.values():
            if isinstance(figure, jax.Array) and not cast(Any, figure).is_ready():
                return
            break
        self.back_to(seconds)

    def compiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """`step`, a function of a state and a batch, whose first call for batches of some shape,
        which compiles, does not count. (A call only starts the computation.)"""

        def call(state: Any, batch: Mapping[str, Any]) -> Any:
            shapes = tuple(leaf.shape for leaf in batch.values())
            if (step, shapes) in self._shapes:
                return step(state, batch)
            self._shapes.add((step, shapes))
            with self.lost():
                return step(state, batch)

        return call
