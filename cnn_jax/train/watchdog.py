"""Ends a run that has stopped making steps, and says where each of its processes was.

If a data source hangs, a process never reaches a collective, or a disk does not answer, heartbeats
continue, and without a watchdog the run would hang until somebody looks. Its work is divided into
phases; each new phase is a sign of life, and the run ends if one takes too long. With several
processes each regularly tells the others its phase, so that a process does not give up before the
peer that it waits for, which may be compiling or reading.
"""

import faulthandler
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from cnn_jax.train import hosts
from cnn_jax.train.callback import COMPILING, EVALUATION, READING, STEP, Callback

LEAST = 300.0  # seconds that a step may always take
FACTOR = 10.0  # times the slowest step so far
# Seconds for rare phases, which depend on the size of the network, the data set and the disk.
LONG = 3600.0
TICK = 1.0  # seconds between two checks
NEWS = 5.0  # seconds between two messages to the other processes, at most


class Place(NamedTuple):
    """The place of a process in the run.

    Attributes:
        phase: one of the phases of `cnn_jax.train.callback`.
        step: number of the current step, from 1, or of the last one before another phase.
        seconds: seconds since the phase began.
        limit: seconds that the phase may take.
    """

    phase: str
    step: int
    seconds: float
    limit: float


class Others(Protocol):
    """How the processes of a run exchange their places."""

    def tell(self, text: str) -> None:
        """Publishes a message to all, which replaces the last one."""
        ...

    def told(self) -> Mapping[int, str]:
        """The last message of each process."""
        ...


class Watchdog(Callback):
    """Watches a run from a separate thread.

    Time is counted in checks of that thread: while the whole process is suspended, by Ctrl-Z or a
    closed laptop lid, no time counts.
    """

    def __init__(
        self,
        timeout: float = 0.0,
        *,
        directory: Path | None = None,
        index: int = 0,
        count: int = 1,
        others: Others | None = None,
        end: Callable[[str], None] | None = None,
        tick: float = TICK,
    ):
        """Prepares to watch.

        Args:
            timeout: seconds that a step may take; 0: ten times the slowest so far, at least 300.
            directory: directory for the stacks of a run that is ended, as stuck-<index>.txt.
            index, count: index of this process, and number of processes.
            others: the other processes; None for a single process.
            end: ends the run with a message; by default with status 75 (EX_TEMPFAIL): nothing is
                known to be wrong with the command, and it may be repeated.
            tick: seconds between two checks.

        Raises:
            ValueError: a negative timeout.
        """
        if timeout < 0:
            raise ValueError(f"step_timeout={timeout:g}; it must be 0 or more seconds.")
        self._timeout, self._tick = timeout, tick
        self._index, self._count, self._others = index, count, others
        self._directory, self._end = directory, end or self._leave
        self._mark = self._seen = (COMPILING, 0)
        self._seconds = self._slowest = 0.0
        self._told, self._words = NEWS, 0  # the first message is sent at the first check
        self._heard: dict[int, tuple[str, float]] = {}  # the last message, and its age
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def on_phase(self, phase: str, step: int) -> None:
        """Notes that the run enters this phase. It costs no more than an assignment."""
        self._mark = (phase, step)

    def limit(self, phase: str) -> float:
        """Seconds that a phase may take, as far as known."""
        if phase in (STEP, READING, EVALUATION):
            return self._timeout or max(LEAST, FACTOR * self._slowest)
        if phase == COMPILING and self._timeout:
            return max(LEAST, FACTOR * self._timeout)
        return max(LONG, FACTOR * self._timeout)

    def place(self) -> Place:
        """The place of this process at the last check."""
        phase, step = self._seen
        return Place(phase, step, self._seconds, self.limit(phase))

    def look(self, elapsed: float) -> str:
        """Checks the run, `elapsed` seconds after the last check.

        Returns:
            The message to end the run with; '' to continue.
        """
        mark = self._mark
        if mark is not self._seen:
            if self._seen[0] in (STEP, READING, EVALUATION):
                self._slowest = max(self._slowest, self._seconds)
            self._seen, self._seconds = mark, 0.0
        self._seconds += elapsed
        here = self.place()
        places = {self._index: here}
        if self._others is not None:
            places |= self._listen(here, elapsed)
        if any(place.seconds <= place.limit for place in places.values()):
            return ""
        return f"no step within {here.limit:.0f} s: {described(places, self._count)}"

    def _listen(self, here: Place, elapsed: float) -> dict[int, Place]:
        """Tells the others the place of this process; after a while in one phase, reads theirs.

        The age of a message that no longer changes counts: its sender may hang in a library that
        lets no other thread run.
        """
        assert self._others is not None
        self._told += elapsed
        self._heard = {i: (word, age + elapsed) for i, (word, age) in self._heard.items()}
        if self._told >= min(NEWS, here.limit / 8):
            self._told, self._words = 0.0, self._words + 1
            self._others.tell(json.dumps([self._words, *here]))
            if here.seconds > here.limit / 4:
                words = self._others.told()
                for index in range(self._count):
                    word = words.get(index, "")
                    if self._heard.get(index, ("?", 0.0))[0] != word:
                        self._heard[index] = (word, 0.0)
        if here.seconds <= here.limit:
            return {}
        places = {}
        for index, (word, age) in self._heard.items():
            if index != self._index:
                # a process that has sent no message yet is still starting
                told = Place("", 0, 0.0, self.limit(COMPILING))
                if word:
                    told = Place(*json.loads(word)[1:])
                places[index] = told._replace(seconds=told.seconds + age)
        return places

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._tick):
            now = time.monotonic()
            try:
                message = self.look(min(now - last, 2 * self._tick))
            except Exception:  # the coordination service is gone, which others report
                message = ""
            last = now
            if message:
                self._end(message)
                return

    def _leave(self, message: str) -> None:
        where = self._stacks()
        hosts.leave(
            hosts.PEER_LOST,
            f"error: {message}. {where}The same command resumes from the last checkpoint; "
            "`step_timeout` sets how long to wait.",
            tell=True,
        )

    def _stacks(self) -> str:
        """Writes the stack of each thread of this process to a file, and says where."""
        if self._directory is None:
            return ""
        path = self._directory / f"stuck-{self._index}.txt"
        try:
            with path.open("w") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except (OSError, ValueError):
            return ""
        return f"The stacks of its threads are in {path}. "

    def __enter__(self) -> "Watchdog":
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()


def described(places: Mapping[int, Place], count: int) -> str:
    """'process 0 computing step 13 for 21 s, process 1 reading data for step 13 for 22 s'."""
    together: dict[tuple[str, int], list[int]] = {}
    for index in sorted(places):
        together.setdefault(places[index][:2], []).append(index)
    said = []
    for (phase, step), indices in together.items():
        seconds = max(places[index].seconds for index in indices)
        who = f"{_processes(indices)} " if count > 1 else "the run was "
        doing = {
            STEP: f"computing step {step}",
            COMPILING: f"compiling, at step {step}",
            READING: f"reading data for step {step}",
            "": "not heard of",
        }.get(phase, f"at {phase} after step {step}")
        said.append(f"{who}{doing} for {seconds:.0f} s")
    return ", ".join(said)


def _processes(indices: Sequence[int]) -> str:
    """'process 3', 'processes 0, 1 and 5 more'."""
    if len(indices) == 1:
        return f"process {indices[0]}"
    shown = ", ".join(map(str, indices[:8]))
    more = f" and {len(indices) - 8} more" if len(indices) > 8 else ""
    return f"processes {shown}{more}"
