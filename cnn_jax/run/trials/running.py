"""The runs of a sweep, one after the other, each in its own directory.

Several processes may work on one directory: each takes the runs that no other has, and goes on with
those that were interrupted. The kernel gives a run back when the process that had it ends.
"""

import contextlib
import dataclasses
import gc
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich.console

from cnn_jax.run import failures
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.result import Result
from cnn_jax.run.training import train_experiment
from cnn_jax.run.trials.axes import said
from cnn_jax.run.trials.shared import Shared
from cnn_jax.train.checkpoint import CheckpointError
from cnn_jax.train.nonfinite import NonFiniteError

TURNS = "turns"  # folder of the locks: one for each run
# What ends one run and not the others. Anything else is a fault of the program.
FAILURES = (NonFiniteError, MemoryError, CheckpointError, ValueError, OSError)


class Trial(NamedTuple):
    """A run of a sweep.

    Attributes:
        name: of its directory.
        changes: what is its own.
        recipe: with its directory.
    """

    name: str
    changes: dict[str, Any]
    recipe: TrainingRecipe

    @property
    def path(self) -> Path:
        return Path(self.recipe.workdir)

    @property
    def finished(self) -> bool:
        return (self.path / workdirs.RESULT_FILE).exists()

    @property
    def failure(self) -> str:
        """Why it failed; '' if it did not."""
        return "" if self.finished else failures.read(self.path)


@dataclasses.dataclass
class Tally:
    """What has become of the runs.

    Attributes:
        finished: names, with those that were finished before.
        failed: why, by name, with those that failed before.
        elsewhere: names of those that other processes have.
        interrupted: the signal that stopped this process, or None.
    """

    finished: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: list[str] = dataclasses.field(default_factory=list)
    interrupted: signal.Signals | None = None


class InSweep(Program):
    """The program around a sweep, as a single run of it sees it."""

    def __init__(self, outer: Program):
        self._outer = outer
        self.ends, self.sources, self.again = outer.ends, outer.sources, outer.again

    @property
    def console(self) -> rich.console.Console:  # type: ignore[override]
        return self._outer.console

    def say(self, line: str) -> None:
        self._outer.say(line)

    def interrupts(self, situation: str) -> None:
        self._outer.interrupts(situation)

    def until_started(self, then: str) -> contextlib.AbstractContextManager[Callable[[], None]]:
        return self._outer.until_started(then)

    def without_output(self, note: str) -> None:
        self._outer.without_output(note)

    def resumes(self, place: str) -> str:
        return f"To go on with the sweep: {self.again}"


class Runner:
    """Runs trials, each once, as far as other processes leave them."""

    def __init__(self, directory: Path, shared: Shared, program: Program):
        """
        Args:
            directory: of the sweep.
            shared: what the runs share.
            program: what surrounds the sweep.
        """
        self._directory, self._shared = directory, shared
        self._outer, self._program = program, InSweep(program)

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Holds a run within the block; False if another process has it."""
        folder = self._directory / TURNS / name
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            try:
                workdirs.lock(folder, held)
            except workdirs.BusyError:
                yield False
                return
            yield True

    def go(self, trial: Trial, title: str, tally: Tally) -> Result | None:
        """Trains and evaluates one run that this process holds. None if it failed, which is noted,
        or was started by hand in another process."""
        self._outer.say(f"{title}: {said(trial.changes)}")
        trial.path.mkdir(parents=True, exist_ok=True)
        try:
            result = self._trained(trial)
        except workdirs.BusyError:
            tally.elsewhere.append(trial.name)
            return None
        except FAILURES as error:
            failures.write(trial.path, error)  # where it failed before its directory was open
            why = " ".join((str(error) or type(error).__name__).split())
            tally.failed[trial.name] = why
            self._outer.say(f"{trial.path} failed: {why}")
            if isinstance(error, MemoryError):
                self._shared.forget()
            error.__traceback__ = None  # its frames hold the arrays of the run
            gc.collect()
            return None
        where = f"between two runs, in {self._directory}"
        self._outer.interrupts(f"{where}: {self._outer.again} goes on with the sweep")
        if result.interrupted is not None:
            tally.interrupted = result.interrupted
        else:
            tally.finished.append(trial.name)
        return result

    def _trained(self, trial: Trial) -> Result:
        recipe = trial.recipe
        experiment: Experiment = self._shared.experiment(recipe)
        experiment = self._shared.surveyed(recipe, experiment)
        return train_experiment(recipe, experiment, program=self._program, build=self._shared.build)

    def all(self, trials: Sequence[Trial]) -> Tally:
        """Runs those that are neither finished nor have failed, in turn with other processes."""
        tally = Tally()
        begun: set[str] = set()
        more = True
        while more and tally.interrupted is None:
            more, tally.elsewhere = False, []
            for number, trial in enumerate(trials, 1):
                if trial.finished or trial.failure or trial.name in begun:
                    continue
                with self.turn(trial.name) as mine:
                    if not mine:
                        tally.elsewhere.append(trial.name)
                        continue
                    if trial.finished or trial.failure:  # by another process, just now
                        continue
                    begun.add(trial.name)
                    self.go(trial, f"Run {number} of {len(trials)}", tally)
                    more = True
                if tally.interrupted is not None:
                    break
        tally.finished = [trial.name for trial in trials if trial.finished]
        tally.failed = {t.name: tally.failed.get(t.name, t.failure) for t in trials if t.failure}
        return tally


def score(place: Path) -> float | None:
    """The figure that a run is chosen by, out of its result.json; None if it is no number."""
    try:
        content = json.loads((place / workdirs.RESULT_FILE).read_text())
        return float(content[content["chosen_by"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
