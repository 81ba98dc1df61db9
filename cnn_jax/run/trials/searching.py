"""Settings that Optuna chooses, run after run, by those before: needs `optuna`, an extra."""

import contextlib
import importlib.util
import os
import time
from collections.abc import Mapping
from typing import Any

from cnn_jax.run import failures
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.trials.ending import Swept, ended
from cnn_jax.run.trials.ranges import Range, ranges_of
from cnn_jax.run.trials.running import Runner, Tally, Trial, score
from cnn_jax.run.trials.starting import Start, prepared, started

JOURNAL = "optuna.journal"  # the trials, for every process


def search(
    recipe: TrainingRecipe,
    space: str,
    *,
    trials: int = 20,
    workdir: str | os.PathLike[str] | None = None,
    program: Program | None = None,
) -> Swept:
    """Trains runs whose settings Optuna's TPE sampler chooses, the first ten at random (Bergstra et
    al. 2011, "Algorithms for Hyper-Parameter Optimization"), and compares them.

    run.search(run.Recipe(model="mlp"), "learning_rate=log:1e-3..1;optimizer=sgd,adamw", trials=30)

    It goes on where it stopped, and processes may share a directory, as those of `run.grid`. A run
    that diverges counts as the worst.

    Args:
        recipe: the settings that are the same in all runs; its seed is the sampler's too.
        space: 'NAME=LOW..HIGH' evenly, 'NAME=log:LOW..HIGH' evenly in the logarithm, or values,
            'NAME=a,b'; with semicolons between settings.
        trials: number of runs, with those that are there.
        workdir, program: see `run.grid`.

    Raises:
        ValueError: Optuna is missing; a setting, a range, the data or the directory cannot be used.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ValueError("`search` needs Optuna: pip install 'cnn-jax[optuna]'.")
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise ValueError(f"trials={trials}: it must be a whole number above 0.")
    recipe = prepared(recipe, workdir)
    ranges = ranges_of(space, recipe)
    first = {name: own.ends[0] for name, own in ranges.items()}
    tried = [{**first, name: end} for name, own in ranges.items() for end in own.ends]
    with started(recipe, tried, program) as start:
        start.program.say(f"{trials} runs that Optuna chooses, in {start.directory}. {start.note}")
        found = _Search(start, ranges, trials)
        tally, names = found.go(), [trial.name for trial in found.trials()]
    return ended(start.directory, names, tally, start.program)


class _Search:
    """A study, and the runs of its trials."""

    def __init__(self, start: Start, ranges: Mapping[str, Range], count: int):
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._start, self._ranges, self._count = start, ranges, count
        self._tally, self._begun = Tally(), set[int]()
        self._runner = Runner(start.directory, start.shared, start.program)
        backend = JournalFileBackend(str(start.directory / JOURNAL))
        storage = optuna.storages.JournalStorage(backend)
        self._study = optuna.create_study(
            storage=storage, study_name="search", direction="maximize", load_if_exists=True
        )
        own = {name: each.text for name, each in ranges.items()}
        if (earlier := self._study.user_attrs.get("space", own)) != own:
            before = ";".join(f"{name}={text}" for name, text in earlier.items())
            raise ValueError(
                f"{start.directory} has a search of {before}: choose another `workdir`."
            )
        self._study.set_user_attr("space", own)

    def trials(self) -> list[Trial]:
        return [self._start.trial(f"trial-{t.number:04d}", t.params) for t in self._study.trials]

    def go(self) -> Tally:
        while self._tally.interrupted is None and (self._left() or self._new()):
            pass
        trials = self.trials()
        self._tally.finished = [trial.name for trial in trials if trial.finished]
        self._tally.failed |= {trial.name: trial.failure for trial in trials if trial.failure}
        over = {*self._tally.finished, *self._tally.failed}
        self._tally.elsewhere = [trial.name for trial in trials if trial.name not in over]
        return self._tally

    def _left(self) -> bool:
        """Goes on with a run that a process has left; False if there is none."""
        state = self._optuna.trial.TrialState.RUNNING
        for number in [t.number for t in self._study.get_trials(states=(state,))]:
            with self._runner.turn(f"trial-{number:04d}") as mine:
                if mine and number not in self._begun:
                    self._run(number)
                    return True
        return False

    def _new(self) -> bool:
        """Runs what Optuna chooses next; False if all have been chosen."""
        with contextlib.ExitStack() as held:
            while not held.enter_context(self._runner.turn("next")):
                time.sleep(0.05)
            count = len(self._study.trials)
            if count >= self._count:
                return False
            # processes with one sequence of random numbers would choose alike
            seed = (self._start.recipe.seed + count) % 2**32
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
            spaces = {name: each.distribution(self._optuna) for name, each in self._ranges.items()}
            self._study.ask(spaces)
        return True  # `_left` takes it, or another process does

    def _run(self, number: int) -> None:
        self._begun.add(number)
        trial = self.trials()[number]
        if not trial.finished and not trial.failure:
            self._runner.go(trial, f"Run {number + 1} of {self._count}", self._tally)
        states, value = self._optuna.trial.TrialState, score(trial.path)
        if trial.finished and value is not None:
            self._study.tell(number, value)
        elif trial.finished or trial.failure:
            worst = failures.kind(trial.path) == "NonFiniteError"
            self._study.tell(number, state=states.PRUNED if worst else states.FAIL)
