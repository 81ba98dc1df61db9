"""The beginning of a sweep: its directory, and everything that is checked before the first run."""

import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax import plugins
from cnn_jax.data.errors import DataError
from cnn_jax.run import continuing, resuming, tracking
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.fine_tuning import varied
from cnn_jax.run.machine import configured, split_cpu
from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.trials.running import Trial
from cnn_jax.run.trials.shared import Shared
from cnn_jax.stores import is_store, local_path
from cnn_jax.train import hosts

SHARE = "10%"  # of the training split, that a sweep holds out to choose on


class Start(NamedTuple):
    """What the runs of a sweep have in common.

    Attributes:
        directory: of the sweep.
        recipe: the settings that are the same in all runs.
        shared: what they share.
        program: what surrounds them.
        note: what they are chosen by, a sentence.
    """

    directory: Path
    recipe: TrainingRecipe
    shared: Shared
    program: Program
    note: str

    def trial(self, name: str, changes: Mapping[str, Any]) -> Trial:
        """A run with some settings of its own, in a directory of this name."""
        where = str(self.directory / name)
        return Trial(name, dict(changes), varied(self.recipe, {**changes, "workdir": where}))


def prepared(recipe: TrainingRecipe, workdir: str | os.PathLike[str] | None) -> TrainingRecipe:
    """The recipe with its directory, and its plug-ins loaded.

    Raises:
        ValueError: it is no recipe, or not of single runs of one process; a plug-in cannot be
            loaded.
    """
    if not isinstance(recipe, TrainingRecipe):
        raise ValueError(f"recipe={recipe!r}: wanted a recipe, such as run.Recipe(steps=100).")
    if workdir is not None:
        recipe = replace(recipe, workdir=workdir)  # type: ignore[arg-type]
    plugins.load_all(recipe.plugin)
    tracking.check(recipe.track)
    if recipe.seeds != 1 or recipe.learning_rates:
        name = "seeds" if recipe.seeds != 1 else "learning_rates"
        raise ValueError(
            f"`{name}` is for runs in one step: vary {name[:-1]} in the sweep instead."
        )
    if hosts.several() or recipe.process_count > 1 or recipe.coordinator:
        raise ValueError(
            "The runs of a sweep are of one process each. Start several processes on one "
            "directory, and they share the runs out."
        )
    if is_store(recipe.workdir):
        raise ValueError(
            f"workdir={recipe.workdir}: the runs of a sweep are in a directory on this machine. "
            "Give one, and copy it to the store afterwards."
        )
    return recipe


@contextlib.contextmanager
def started(
    recipe: TrainingRecipe, tried: Sequence[Mapping[str, Any]], program: Program | None
) -> Iterator[Start]:
    """Within the block JAX is as the recipe says, and the runs may begin.

    Args:
        recipe: see `prepared`.
        tried: settings that are tried out up to the first step: with every value, or with the ends
            of every range; what the first needs is kept for the first run.
        program: what surrounds the sweep; None: it prints on standard output.

    Raises:
        ValueError: a setting, a value, the data or the directory cannot be used.
    """
    program = program or Program()
    for changes in tried:
        varied(recipe, changes)  # each value is of its type, and in its range
    split_cpu(recipe.cpu_devices)
    with configured(recipe), Shared(program) as shared:
        directory = local_path(recipe.workdir or _default(recipe))
        if (directory / workdirs.RECIPE_FILE).exists():
            raise ValueError(
                f"workdir={directory} is a run itself; a sweep needs a directory of its own."
            )
        recipe = continuing.resolved(replace(recipe, workdir=""))
        chosen, note = _held_out(varied(recipe, tried[0]), shared)
        if "validation_split" not in tried[0]:
            recipe = replace(recipe, validation_split=chosen.validation_split)
        _check([varied(recipe, changes) for changes in _new_values(tried)], shared)
        directory.mkdir(parents=True, exist_ok=True)
        program.interrupts(f"before the first run: {program.again} goes on with the sweep")
        yield Start(directory, recipe, shared, program, note)


def check_directories(trials: Sequence[Trial]) -> None:
    """
    Raises:
        ValueError: one of the runs is there already, of other settings.
    """
    for trial in trials:
        earlier = resuming.read_recipe(trial.path / workdirs.RECIPE_FILE)
        if earlier and (changes := resuming.differences(trial.recipe, earlier)):
            raise ValueError(
                f"{trial.path} holds another experiment: {'; '.join(changes.values())}. Choose "
                "another `workdir`, or give the same settings to go on with the sweep."
            )


def _held_out(recipe: TrainingRecipe, shared: Shared) -> tuple[TrainingRecipe, str]:
    """The recipe, which holds a share of the training split out where it would choose on the test
    split unasked; and what the runs are chosen by."""
    experiment = shared.experiment(recipe)
    if experiment.part != "test":
        return recipe, f"They are chosen on the validation split, by {experiment.best}."
    if recipe.validation_split == "auto":
        other = replace(recipe, validation_split=SHARE)
        with contextlib.suppress(DataError):  # a handful of examples
            shared.experiment(other)
            return other, (
                f"They are chosen by {experiment.best} on {SHARE} of the training split, which is "
                "held out for that; an empty `validation_split` would choose on the test split."
            )
    return recipe, (
        f"They are chosen by {experiment.best} on the test split itself, which flatters the one "
        f"that is chosen; validation_split={SHARE} holds examples out for that."
    )


def _new_values(tried: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with a value that none before has."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for changes in tried:
        own = {(name, repr(value)) for name, value in changes.items()}
        if own - seen:
            seen |= own
            chosen.append(changes)
    return chosen


def _check(recipes: Sequence[TrainingRecipe], shared: Shared) -> None:
    """Makes what each needs, up to the first step. The first comes last: its run begins."""
    for recipe in recipes[::-1]:
        shared.build(recipe, shared.experiment(recipe))


def _default(recipe: TrainingRecipe) -> str:
    what = "-".join(filter(None, (recipe.model, Path(getattr(recipe, "dataset", "")).name)))
    safe = what.replace("/", "_").replace(":", "_")
    return str(Path("runs") / f"{datetime.date.today():%Y-%m-%d}-sweep-{safe}")
