"""Ends a run that has stopped making steps, and says where each of its processes was.

A data source that hangs, a collective that one process never reaches, a disk that does not answer:
heartbeats go on, and without a watchdog the run would stand still until somebody looks. What it
does is cut into phases; each new one is a sign of life, and the run ends where one takes too long.
With several processes each tells the others now and then where it is, so that one which waits for
a peer that compiles, or reads, does not give up before that peer does.
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

COMPILING, STEP, READING = "compiling", "computing", "reading data"
EVALUATION, REPORT = "evaluation", "figures of the evaluation"
CHECKPOINT, LOG = "checkpoint", "writing the log"

LEAST = 300.0  # seconds that a step may take whatever the others took
FACTOR = 10.0  # times the slowest so far
# Seconds for what happens seldom and depends on the size of the network, the set and the disk.
LONG = 3600.0
TICK = 1.0  # seconds between two looks
NEWS = 5.0  # seconds between two words to the other processes, at most


class Place(NamedTuple):
    """Where a process is.

    Attributes:
        phase: one of the above.
        step: the one that is being made, from 1; an evaluation or a checkpoint is after it.
        seconds: since the phase began.
        limit: seconds that it may take.
    """

    phase: str
    step: int
    seconds: float
    limit: float


class Others(Protocol):
    """How the processes of a run hear of each other."""

    def tell(self, text: str) -> None:
        """Leaves a word for all, in the place of the last one."""
        ...

    def told(self) -> Mapping[int, str]:
        """The last word of each process."""
        ...


class Watchdog:
    """Watches from a thread of its own while it is entered.

    Time is counted in looks of that thread: while the whole process is stopped, by Ctrl-Z or a
    laptop's lid, nothing counts.
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
            timeout: seconds; 0: ten times the slowest step so far, at least 300.
            directory: where the stacks of a run that is ended go, as stuck-<index>.txt.
            index, count: of this process, and how many there are.
            others: the other processes; None in a single one.
            end: ends the run with a message; by default with status 75 (EX_TEMPFAIL): nothing is
                known to be wrong with the command, and the same one may be given again.
            tick: seconds between two looks.

        Raises:
            ValueError: a negative timeout.
        """
        if timeout < 0:
            raise ValueError(f"--step_timeout={timeout:g}; it is in seconds, 0 for automatic.")
        self._timeout, self._tick = timeout, tick
        self._index, self._count, self._others = index, count, others
        self._directory, self._end = directory, end or self._leave
        self._mark = self._seen = (COMPILING, 0)
        self._seconds = self._slowest = 0.0
        self._told, self._words = NEWS, 0  # the first word at the first look
        self._heard: dict[int, tuple[str, float]] = {}  # the last word, and how long ago it came
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def at(self, phase: str, step: int) -> None:
        """A sign of life: from here on the run is in this phase. Costs as much as an assignment."""
        self._mark = (phase, step)

    def limit(self, phase: str) -> float:
        """Seconds that a phase may take, by what is known so far."""
        if phase in (STEP, READING, EVALUATION):
            return self._timeout or max(LEAST, FACTOR * self._slowest)
        if phase == COMPILING and self._timeout:
            return max(LEAST, FACTOR * self._timeout)
        return max(LONG, FACTOR * self._timeout)

    def place(self) -> Place:
        """Where this process is, by the last look."""
        phase, step = self._seen
        return Place(phase, step, self._seconds, self.limit(phase))

    def look(self, elapsed: float) -> str:
        """What the thread does at each tick, `elapsed` seconds after the last one.

        Returns:
            The message to end the run with; '' while there is hope.
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
        """Tells the others where this process is; where it has been long, hears where they are.

        A word that does not change any more is as old as it is: whoever stands behind it may hang
        in a library that lets no other thread run.
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
                # one that has not said a word is still on its way here
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
            except Exception:  # the service of the processes is gone: others say so
                message = ""
            last = now
            if message:
                self._end(message)
                return

    def _leave(self, message: str) -> None:
        where = self._stacks()
        hosts.leave(
            hosts.PEER_LOST,
            f"error: {message}. {where}The same command goes on from the last checkpoint; "
            "--step_timeout says how long to wait.",
            tell=True,
        )

    def _stacks(self) -> str:
        """Writes down what each thread of this process was doing, and says where."""
        if self._directory is None:
            return ""
        path = self._directory / f"stuck-{self._index}.txt"
        try:
            with path.open("w") as file:
                faulthandler.dump_traceback(file, all_threads=True)
        except (OSError, ValueError):
            return ""
        return f"What its threads were doing is in {path}. "

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
