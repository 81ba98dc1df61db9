"""Every combination of some settings: a run each in one directory, and a page to compare them."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from cnn_jax.run.program import Program
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.trials import axes as texts
from cnn_jax.run.trials.ending import Swept, ended
from cnn_jax.run.trials.running import Runner
from cnn_jax.run.trials.shared import data_key
from cnn_jax.run.trials.starting import check_directories, prepared, started


def grid(
    recipe: TrainingRecipe,
    axes: str | Mapping[str, Iterable[Any]],
    *,
    workdir: str | os.PathLike[str] | None = None,
    program: Program | None = None,
) -> Swept:
    """Trains a run for every combination of some settings, and compares them.

    run.grid(run.Recipe(model="mlp"), {"learning_rate": (0.03, 0.1), "seed": (0, 1, 2)})

    Every name and value is checked before the first run begins. Runs that differ only in numbers
    (learning rate, weight decay, momentum, seed ...) share one compiled step and the data. What is
    finished is not trained again, what was interrupted goes on; several processes may call this
    with one directory, and share the runs out. A run that fails does not stop the others; it is
    left alone until its failure.json is deleted.

    Runs are chosen on a validation split: where `validation_split` is 'auto' and would choose on
    the test split, a tenth of the training split is held out.

    Args:
        recipe: the settings that are the same in all runs.
        axes: the values of each setting; or a text, 'learning_rate=0.03,0.1;optimizer=sgd,adamw'.
        workdir: the directory of the sweep; default: the recipe's, or else
            runs/<date>-sweep-<model>-<dataset>.
        program: what surrounds the sweep; default: it prints on standard output.

    Raises:
        ValueError: a setting, a value, the data or the directory cannot be used.
    """
    recipe = prepared(recipe, workdir)
    chosen = texts.combinations(_values(recipe, axes))
    with started(recipe, chosen, program) as start:
        trials = [start.trial(texts.called(changes), changes) for changes in chosen]
        keys = [data_key(trial.recipe) for trial in trials]
        trials.sort(key=lambda trial: keys.index(data_key(trial.recipe)))  # stable
        check_directories(trials)
        over = sum(trial.finished or bool(trial.failure) for trial in trials)
        there = f", {over} of which are there" if over else ""
        start.program.say(f"{len(trials)} runs{there}, in {start.directory}. {start.note}")
        tally = Runner(start.directory, start.shared, start.program).all(trials)
    return ended(start.directory, [trial.name for trial in trials], tally, start.program)


def _values(
    recipe: TrainingRecipe, axes: str | Mapping[str, Iterable[Any]]
) -> dict[str, list[Any]]:
    kind = type(recipe)
    if isinstance(axes, str):
        return {
            name: texts.values_of(name, text, texts.field_of(name, kind, given="sweep"))
            for name, text in texts.parse(axes, kind).items()
        }
    if not isinstance(axes, Mapping) or not axes:
        raise ValueError(f"axes={axes!r}: wanted the values of each setting, by its name.")
    found = {}
    for name, values in axes.items():
        texts.field_of(name, kind, given="axes")
        if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
            raise ValueError(f"axes: {name}={values!r}: wanted several values, such as (0.1, 0.2).")
        found[name] = texts.distinct(name, values, given="axes")
    return found
