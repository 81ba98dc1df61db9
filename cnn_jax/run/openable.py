"""Opens the data of a recipe as far as they can be opened: those that training refuses, too."""

import dataclasses
from typing import Any, NamedTuple

from cnn_jax import data
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import TaskRun, name_of, task_of

SIZE = 224  # pixels that images are shown at if they differ in size and the recipe has none
_SETTINGS = {"train": "train_split", "test": "test_split"}


class Openable(NamedTuple):
    """What could be opened.

    Attributes:
        recipe: by which it was; not always the one given.
        experiment: of the recipe; None if training refuses the data.
        sources: 'train', 'test', 'validation' -> data, as far as there are any.
        refused: why training would stop; '' if it would not.
        notes: what else is to be said.
    """

    recipe: TrainingRecipe
    experiment: Experiment | None
    sources: dict[str, data.Source]
    refused: str = ""
    notes: tuple[str, ...] = ()


def open_data(recipe: TrainingRecipe) -> Openable:
    """The experiment of a recipe; if training refuses the data, as much as there is.

    Raises:
        ValueError: none of the data can be opened.
    """
    task = task_of(recipe)
    try:
        return _made(task, recipe)
    except ValueError as error:
        refused: ValueError = error
    sources, wrong = {}, []
    for part, setting in _SETTINGS.items():
        try:
            if task.open_split is not None:
                sources[part] = task.open_split(recipe, getattr(recipe, setting))
        except ValueError as error:
            wrong.append(str(error))
    if not sources:
        raise refused
    why = str(refused)
    notes = [each for each in wrong if each != why]
    bare = Openable(recipe, None, sources, why, tuple(notes))
    if "train" not in sources:
        return bare
    chosen: Any = recipe
    if "test" not in sources:
        chosen = dataclasses.replace(chosen, test_split=recipe.train_split)
    sized = all(None not in source.image_shape[:2] for source in sources.values())
    if not sized and hasattr(recipe, "image_size") and not recipe.image_size:
        chosen = dataclasses.replace(chosen, image_size=type(recipe.image_size)(SIZE))
        notes.append(
            "The images may differ in size, and training needs one for all: here they are shown "
            f"as with image_size={SIZE}."
        )
        why = wrong[0] if wrong else ""
    for skip in (recipe.skip_corrupt, True):
        try:
            made = _made(task, dataclasses.replace(chosen, skip_corrupt=skip))
        except ValueError as error:
            why = why or str(error)
            continue
        if "test" not in sources:
            made.sources.pop("test", None)
        return made._replace(refused=why, notes=tuple(notes))
    return bare._replace(refused=why)


def without_damaged(opened: Openable, why: str) -> Openable:
    """The same data without their damaged records, for which training would stop."""
    recipe = dataclasses.replace(opened.recipe, skip_corrupt=True)
    again = opened._replace(recipe=recipe)
    if opened.experiment is not None:
        again = _made(task_of(recipe), recipe)
        sources = {part: again.sources[part] for part in opened.sources}
        again = again._replace(sources=sources, notes=opened.notes)
    return again._replace(refused=opened.refused or why)


def _made(task: TaskRun, recipe: TrainingRecipe) -> Openable:
    experiment = task.make_experiment(recipe)
    if experiment.splits is not None:
        sources = experiment.splits.sources()
    elif task.open_split is not None:
        sources = {p: task.open_split(recipe, getattr(recipe, s)) for p, s in _SETTINGS.items()}
    else:
        raise ValueError(f"The task {name_of(task)!r} does not say how its data are opened.")
    return Openable(recipe, experiment, sources)
