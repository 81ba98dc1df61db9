"""Evaluates the network of a run, on its own data or on others."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from typing import Any, Literal

import flax.errors
import jax
import optax

from cnn_jax import metrics, plugins
from cnn_jax.run.experiment import HeldOut, by_rule
from cnn_jax.run.machine import configured
from cnn_jax.run.opening import open, task_named
from cnn_jax.run.predictor import Predictor
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.train import evaluation, layout, state, step

# The settings that every recipe has and that an evaluation reads.
_EVALUATED = {
    *("data_dir", "test_split", "skip_corrupt", "workers", "batch_size", "eval_batch_size"),
    *("metrics", "cpu_convolutions", "compilation_cache", "plugin"),
}


def evaluate(
    place: str | os.PathLike[str],
    *,
    dataset: str = "",
    split: str = "",
    checkpoint: Literal["best", "last"] | int = "best",
    weights: Literal["", "averaged", "raw"] = "",
    plugin: str | Iterable[str] = "",
    **settings: Any,
) -> dict[str, float]:
    """The figures of a trained network on a split of a data set. Nothing is written.

    Args:
        place: a run directory, or its s3:// URL.
        dataset: name of the data set; default: that of the training.
        split: its split; default: the one that the run was evaluated on.
        checkpoint, weights, plugin: see `cnn_jax.run.open`.
        settings: other settings to evaluate with than those of the run: `data_dir`,
            `eval_batch_size`, `workers`, `metrics`, those of the data and the loss. Not those of
            the training: the network is as it was trained.

    Returns:
        The figures by name, as in the run's metrics.jsonl: 'accuracy' in 0..1.

    Raises:
        ValueError: the run, the data or a setting cannot be used, or the data have other classes.
    """
    run = open(place, checkpoint=checkpoint, weights=weights, plugin=plugin)
    task = task_named(run.facts.task)
    if task.open_split is None or task.held_out is None or run.recipe is None:
        raise ValueError(f"A run of the task {run.facts.task!r} cannot be evaluated again.")
    known = {field.name for field in dataclasses.fields(run.recipe)}
    if unknown := set(settings) - known:
        raise ValueError(f"{', '.join(sorted(unknown))}: no setting of {run.facts.task}.")
    if idle := sorted(set(settings) & _training_settings()):
        raise ValueError(
            f"{', '.join(idle)}: a setting of the training, which an evaluation does not change. "
            "Leave it out."
        )
    chosen: dict[str, Any] = {"dataset": dataset, "test_split": split}
    settings |= {name: value for name, value in chosen.items() if value}
    recipe = dataclasses.replace(run.recipe, **settings)
    plugins.check_loaded(recipe.plugin, what=f"The run in {os.fspath(place)}")
    with configured(recipe):
        source = task.open_split(recipe, recipe.test_split)
        _check_classes(source, run.facts.class_names, recipe)
        held = task.held_out(recipe, run.facts, run.model, by_rule(source, run.facts.pixels))
        _check_images(run, held)
        reported = metrics.with_metrics(held.task, recipe.metrics)
        where = layout.make_layout("jit", jax.devices()[:1])
        eval_step = where.compile_eval(
            step.make_eval_step(run.model, reported, prepare=held.prepare, views=held.views)
        )
        observed = evaluation.evaluate(
            eval_step, where.replicate(_state(run.variables)), held.batches(), where
        )
        assert observed is not None
        return reported.report(observed)


def _training_settings() -> set[str]:
    """The settings that change nothing in an evaluation."""
    shared = {field.name for field in dataclasses.fields(TrainingRecipe)}
    return (shared - _EVALUATED) | {"augment", "mixup", "cutmix", "mosaic", "jitter"}


def _check_classes(source: Any, trained: tuple[str, ...], recipe: Any) -> None:
    if tuple(source.class_names) == tuple(trained):
        return
    raise ValueError(
        f"{recipe.dataset}, split {recipe.test_split}, has {len(source.class_names)} classes, "
        f"{_some(source.class_names)}, and the network was trained on {len(trained)}, "
        f"{_some(trained)}: wanted the same ones."
    )


def _check_images(run: Predictor, held: HeldOut) -> None:
    """Raises ValueError for images of a shape that the network does not take."""
    wanted = list(run.facts.image_shape)
    image = jax.eval_shape(held.prepare, dict(next(iter(held.batches()))))["image"]
    came = list(image.shape[1:])
    if len(came) == len(wanted) and came[-1] == wanted[-1]:
        with contextlib.suppress(flax.errors.FlaxError, ValueError, TypeError):
            jax.eval_shape(lambda x: run.model.apply(run.variables, x, train=False), image)
            return
    raise ValueError(
        f"The data give examples of shape {came}, and the network was trained on {wanted}: give "
        "data of that kind, and of images `image_size`."
    )


def _some(names: Any, most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _state(variables: Any) -> state.TrainState:
    """A state that holds these variables, for the evaluation step."""
    return state.state_from(variables, optax.identity(), ema=False)
