"""Trains a run longer: its recipe, and the step to go on from."""

import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

from cnn_jax.run import fine_tuning, resuming, saved
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.opening import recipe_of
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import TASKS, name_of, task_of
from cnn_jax.stores import is_store
from cnn_jax.train import hosts

R = TypeVar("R", bound=TrainingRecipe)

# What a longer run does not take over: where and how the earlier one ran, and its beginning.
NOT_CONTINUED = (
    *texts.NOT_KEPT,
    *("layout", "mesh", "devices", "cpu_devices", "step_timeout", "profile"),
    *("coordinator", "coordinator_bind_address", "process_count", "process_id"),
    *("pretrained", "pretrained_backbone", "init_head", "continue_run", "continue_step"),
)


def continued(
    place: str | os.PathLike[str], *, kind: type[R] | None = None, **changes: Any
) -> TrainingRecipe:
    """The recipe that trains a run longer, with the settings of the run and these changes.

    run.train(run.continued("runs/digits", epochs=20))

    The new run, in a directory of its own, begins with the state of the run's last checkpoint:
    parameters, average, optimiser, and the number of steps, so that the data go on too. `epochs`
    and the schedule of the learning rate count from there on; a warm-up takes a tenth of them at
    most.

    Args:
        place: a run directory, or its s3:// URL.
        kind: class that the recipe must have; default: that of the run's task.
        changes: settings that differ, with `epochs` or `steps`: how much longer.

    Raises:
        ValueError: there is no such run, or it is of another kind; a setting cannot be used; or
            none says how much longer.
    """
    place = os.fspath(place)
    before = recipe_of(place)
    known = type(before)
    if kind is not None and not issubclass(known, kind):
        wanted = next((name for name, task in TASKS.items() if task.recipe is kind), kind.__name__)
        raise ValueError(
            f"{place} is a run of {name_of(task_of(before))}, and this one is of {wanted}: give a "
            "run of the same task."
        )
    if not changes.get("steps") and not changes.get("epochs"):
        raise ValueError(f"continue_run={place}: give `epochs` or `steps`, how much longer.")
    if unknown := set(changes) - {field.name for field in dataclasses.fields(known)}:
        raise ValueError(f"{', '.join(sorted(unknown))}: no setting of {name_of(task_of(before))}.")
    fields = {field.name: field.default for field in dataclasses.fields(known)}
    anew = {name: fields[name] for name in NOT_CONTINUED if name in fields}
    given = {**anew, "steps": 0, **changes, "continue_run": place}
    return dataclasses.replace(before, **given)


def resolved(recipe: R) -> R:
    """The recipe as it is run in its directory, with what an earlier version did there, and with
    the step of `continue_run` that it goes on from, if it has one.

    The step is that of a run which is in `workdir` already, or the last one that is there now.
    Process 0 looks.

    Raises:
        ValueError: there is no such run, it has no checkpoint, or `workdir` is the same directory.
    """
    recipe = _as_before(recipe)
    if not recipe.continue_run:
        if recipe.continue_step:
            raise ValueError(
                f"continue_step={recipe.continue_step}: give `continue_run` too, the run to train "
                "longer."
            )
        return recipe
    if recipe.pretrained or recipe.seeds != 1 or recipe.learning_rates:
        name = "pretrained" if recipe.pretrained else "seeds" if recipe.seeds != 1 else ""
        raise ValueError(
            f"continue_run={recipe.continue_run}: `{name or 'learning_rates'}` is for runs that "
            "begin anew. Leave one of them out."
        )
    step = hosts.from_first(lambda: _step(recipe))
    return dataclasses.replace(recipe, continue_step=step)


def _as_before(recipe: R) -> R:
    """The recipe, with what the run in `workdir` chose for fine-tuning; and choosing on the test
    split if that run does, which is of a version that knew nothing else."""

    def began() -> dict[str, str]:
        flagfile = Path(recipe.workdir).expanduser() / workdirs.RECIPE_FILE
        if not recipe.workdir or is_store(recipe.workdir) or not flagfile.is_file():
            return {}
        settings = texts.parse_flagfile(texts.read_text(flagfile))
        looked_at = (*fine_tuning.SETTINGS, "fine_tuning", "validation_split")
        return {name: settings[name] for name in looked_at if name in settings}

    earlier = hosts.from_first(began)
    recipe = fine_tuning.as_before(recipe, earlier)
    if recipe.validation_split == "auto" and earlier and "validation_split" not in earlier:
        return dataclasses.replace(recipe, validation_split="")
    return recipe


def _step(recipe: TrainingRecipe) -> int:
    place = recipe.continue_run
    if recipe.workdir and not is_store(recipe.workdir):
        workdir = Path(recipe.workdir).expanduser()
        if not is_store(place) and workdir.exists() and workdir.samefile(Path(place).expanduser()):
            raise ValueError(
                f"workdir={recipe.workdir} is the run to continue, which stays as it is: choose "
                "another directory."
            )
        flagfile = workdir / workdirs.RECIPE_FILE
        earlier = resuming.read_recipe(flagfile) if flagfile.exists() else {}
        if not recipe.continue_step and earlier.get("continue_run") == place:
            return int(earlier["continue_step"])
    return recipe.continue_step or saved.last_step(place)
