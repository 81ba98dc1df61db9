"""What a network is evaluated on: the settings, the data, and how these are prepared."""

import contextlib
import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.errors
import jax

from cnn_jax import data, plugins
from cnn_jax.run.classification import ClassificationRecipe
from cnn_jax.run.experiment import HeldOut
from cnn_jax.run.held_examples import LoadPrepared
from cnn_jax.run.predictor import ClassPredictor, Predictor
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.splits import by_rule, open_splits
from cnn_jax.run.tasks import TaskRun

# The settings that every recipe has and that an evaluation reads.
_EVALUATED = {
    *("data_dir", "test_split", "skip_corrupt", "workers", "batch_size", "eval_batch_size"),
    *("metrics", "cpu_convolutions", "compilation_cache", "plugin", "devices", "layout"),
}


def settings_of(
    predictor: Predictor, task: TaskRun, dataset: str, split: str, settings: Mapping[str, Any]
) -> TrainingRecipe:
    """The settings to evaluate with."""
    given = {"dataset": dataset, "test_split": split or ("" if dataset else _held(predictor))}
    chosen = {**settings, **{name: value for name, value in given.items() if value}}
    if predictor.recipe is None:
        if not dataset:
            raise ValueError(
                "`dataset`: published weights have no data set of their own. Name one."
            )
        return ClassificationRecipe(model=predictor.facts.model, **{"batch_size": 64, **chosen})
    if task.open_split is None or task.held_out is None:
        raise ValueError(f"A run of the task {predictor.facts.task!r} cannot be evaluated again.")
    known = {field.name for field in dataclasses.fields(predictor.recipe)}
    if unknown := set(settings) - known:
        raise ValueError(f"{', '.join(sorted(unknown))}: no setting of {predictor.facts.task}.")
    if idle := sorted(set(settings) & _training_settings()):
        raise ValueError(
            f"{', '.join(idle)}: a setting of the training, which an evaluation does not change. "
            "Leave it out."
        )
    recipe = dataclasses.replace(predictor.recipe, **chosen)
    plugins.check_loaded(recipe.plugin, what=f"The run in {predictor.place}")
    return recipe


def _held(predictor: Predictor) -> str:
    """The validation split of a run that has no test split; '' for the run's own test split."""
    parts = predictor.facts.data
    if "test" in parts or "validation" not in parts:
        return ""
    return parts["validation"]["split"]


def _training_settings() -> set[str]:
    """The settings that change nothing in an evaluation."""
    shared = {field.name for field in dataclasses.fields(TrainingRecipe)}
    return (shared - _EVALUATED) | {"augment", "mixup", "cutmix", "mosaic", "jitter"}


def held_out(
    predictor: Predictor, task: TaskRun, recipe: TrainingRecipe, model: Any
) -> tuple[data.Source, HeldOut, str]:
    """The data, how they are evaluated, and what the user should know of it."""
    assert task.open_split is not None
    assert task.held_out is not None
    source = by_rule(_opened(predictor, task, recipe), predictor.facts.pixels)
    how = predictor.preparation if isinstance(predictor, ClassPredictor) else None
    if how is None:
        source, recipe, said = _fitted(predictor, recipe, source)
        return source, task.held_out(recipe, predictor.facts, model, source), said
    if source.load is not None:
        name = predictor.facts.model
        raise ValueError(f"{source.name} holds no images, and {name} is for them.")
    prepared = _as_stored(source, how)
    return source, task.held_out(recipe, predictor.facts, model, prepared), ""


def _opened(predictor: Predictor, task: TaskRun, recipe: TrainingRecipe) -> data.Source:
    """The split to evaluate on; of the run's own data also the part that it held out."""
    assert task.open_split is not None
    wanted, own = recipe.test_split, predictor.recipe
    held = predictor.facts.data.get("validation", {}).get("split", "")
    same = own is not None and getattr(own, "dataset", "") == getattr(recipe, "dataset", "")
    if same and " " in held and wanted in (held, "val", "validation"):  # no name of a split
        parts = dataclasses.replace(recipe, test_split=own.test_split)  # type: ignore[union-attr]
        source = open_splits(parts, partial(task.open_split, recipe)).validation
        if source is not None:
            return source
    return task.open_split(recipe, wanted)


def _fitted(
    predictor: Predictor, recipe: TrainingRecipe, source: data.Source
) -> tuple[data.Source, TrainingRecipe, str]:
    """Images of other data than the run's own, read as its network takes them."""
    shape, own = predictor.facts.image_shape, predictor.recipe
    name = getattr(recipe, "dataset", "")
    if len(shape) != 3 or source.load is not None or name == getattr(own, "dataset", ""):
        return source, recipe, ""
    height, width, channels = shape
    said = []
    if len(source.image_shape) == 3 and source.image_shape[-1] != channels:
        source = dataclasses.replace(source, image_shape=(*source.image_shape[:2], channels))
        said.append(f"with {channels} channel{'s' if channels > 1 else ''}")
    size = getattr(recipe, "image_size", None)
    if size in (0, "") and source.image_shape[:2] != (height, width):
        if isinstance(recipe, ClassificationRecipe) and height == width:
            recipe = dataclasses.replace(recipe, image_size=height, crop="whole")
            said.append(f"resized whole to {height}x{width}")
        elif size == "" and None in source.image_shape[:2]:
            changed: Any = {"image_size": f"{height}x{width}"}
            recipe = dataclasses.replace(recipe, **changed)
            said.append(f"fitted to {height}x{width}")
    if not said:
        return source, recipe, ""
    return source, recipe, f"Images are read {' and '.join(said)}, as the network takes them."


def _as_stored(source: data.Source, how: Any) -> data.Source:
    """The source, whose examples are prepared as published weights want."""
    load = LoadPrepared(how, source.upright, source.pixels)
    return dataclasses.replace(source, load=load, image_shape=(*how.crop, 3))


def check_images(predictor: Predictor, model: Any, held: HeldOut, batches: Any) -> None:
    """Raises ValueError for images of a shape that the network does not take."""
    wanted = list(predictor.facts.image_shape)
    image = jax.eval_shape(held.prepare, dict(next(iter(batches))))["image"]
    came = list(image.shape[1:])
    if len(came) == len(wanted) and came[-1] == wanted[-1]:
        with contextlib.suppress(flax.errors.FlaxError, ValueError, TypeError):
            jax.eval_shape(lambda x: model.apply(predictor.variables, x, train=False), image)
            return
    raise ValueError(
        f"The data give examples of shape {came}, and the network was trained on {wanted}: give "
        "data of that kind, and of images `image_size`."
    )
