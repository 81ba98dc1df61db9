"""An experiment: the parts in which runs differ."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import optax

from cnn_jax import data, metrics
from cnn_jax.data import TrainBatches, fingerprint
from cnn_jax.data.errors import UnlabelledError
from cnn_jax.models import Pretrained
from cnn_jax.run import curves
from cnn_jax.run.facts import Facts
from cnn_jax.run.splits import Splits
from cnn_jax.train import state, step
from cnn_jax.typing import Array, Batch, HostBatch, Network, Observed, PyTree, Task


class Experiment(NamedTuple):
    """The parts in which experiments differ.

    Attributes:
        name: name of the run directory: '<model>-<dataset>'.
        model: the network.
        task: the loss and the metrics.
        image: shape and dtype of a training batch as the model sees it.
        train: the training batches.
        test: () -> the evaluation batches of `part`, which is evaluated during the training.
        augment: (keys, batch) -> batch, on the device, in training.
        prepare: batch -> batch, on the device, in evaluation.
        views: test-time augmentation, see `cnn_jax.train.step.make_eval_step`.
        facts: facts about the data and the model, for checkpoints and results.
        best: the metric whose highest value marks the best checkpoint.
        head: the paths of the parameters of the last layer; empty if not known.
        variables: initial variables; None for random ones.
        learnt: collections of variables learnt from the data, which replace the initial ones
            whatever the seed.
        draw: (workdir, observed, predict) -> None: figures of the finished run, where predict is
            batch -> outputs in numpy. None for no figures.
        splits: the data as they were opened; None if the task does not say.
        notes: lines about what was decided, for the console.
        survey: the `Surveying` of its data; None for none.
        part: 'test'; or 'val', if the run is chosen on a validation split.
        final: () -> the evaluation batches of the test split, evaluated once, at the end; None if
            that is `test`, or there is none with labels.
    """

    name: str
    model: Network
    task: Task
    image: jax.ShapeDtypeStruct
    train: TrainBatches
    test: Callable[[], Any]
    augment: Callable[[Array, Batch], Batch]
    prepare: Callable[[Batch], Batch]
    facts: Facts
    best: str
    head: frozenset[str] = frozenset()
    variables: PyTree | None = None
    learnt: Mapping[str, PyTree] = MappingProxyType({})
    views: tuple[Callable[[Array], Array], ...] = ()
    draw: Callable[[Path, Observed, PyTree, Callable[[HostBatch], Any]], None] | None = None
    splits: Splits | None = None
    notes: tuple[str, ...] = ()
    survey: Any = None
    part: str = "test"
    final: Callable[[], Any] | None = None


def initial_variables(experiment: Experiment, *, seed: int) -> PyTree:
    """The initial variables of a run: pretrained, learnt from data, or drawn.

    Args:
        experiment: the run's.
        seed: seed of those that are drawn.
    """
    variables = experiment.variables
    if variables is None:
        variables = state.init_variables(experiment.model, experiment.image, seed=seed)
    return {**variables, **experiment.learnt}


def reporting_metrics(experiment: Experiment, names: str | Iterable[str]) -> Experiment:
    """The experiment, which also reports metrics of `cnn_jax.metrics.METRICS`: 'brier,f1'.

    Raises:
        ValueError: one is unknown, or cannot be computed of what the network gives.
    """
    task = metrics.with_metrics(experiment.task, names)
    if task is experiment.task:
        return experiment
    evaluate = step.make_eval_step(
        experiment.model, task, prepare=experiment.prepare, views=experiment.views
    )

    def first(batch: Batch) -> Observed:
        variables = initial_variables(experiment, seed=0)
        return evaluate(state.state_from(variables, optax.identity(), ema=False), batch)

    jax.eval_shape(first, dict(next(iter(experiment.test()))))
    return experiment._replace(task=task)


class HeldOut(NamedTuple):
    """How examples that were not trained on are evaluated.

    Attributes:
        task: the metrics.
        batches: (process_index=, process_count=) -> the evaluation batches, or a process's rows.
        prepare: batch -> batch, on the device.
        views: test-time augmentation.
    """

    task: Task
    batches: Callable[..., Any]
    prepare: Callable[[Batch], Batch]
    views: tuple[Callable[[Array], Array], ...] = ()


def normalisation(
    splits: Splits, pretrained: Pretrained | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel: those of the pretrained weights, or of the data set."""
    if pretrained is not None and pretrained.preprocessing is not None:
        return tuple(pretrained.preprocessing.mean), tuple(pretrained.preprocessing.std)
    mean, std = data.statistics(splits.train.name, splits.channels)
    return tuple(mean), tuple(std)


def rows_of_process() -> dict[str, Any]:
    """Which rows of a global batch this process reads: arguments of the pipeline."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def assemble(
    recipe: Any,
    name: str,
    splits: Splits,
    *,
    model: Network,
    pretrained: Pretrained | None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    train: TrainBatches,
    augment: Callable[[Array, Batch], Batch],
    held_out: Callable[[Any, Facts, Network, Any], HeldOut],
    draw: Callable[..., None],
    task: Task | None = None,
    fit: str = "",
    **more: Any,
) -> Experiment:
    """The experiment of a task on a data set with classes.

    Args:
        recipe: its recipe.
        name: name of the task.
        splits: the data.
        model: the network.
        pretrained: its initial weights; None for random ones.
        statistics: mean and deviation of each channel.
        train: the training batches.
        augment: (keys, batch) -> batch, on the device, in training.
        held_out: (recipe, facts, model, source) -> how that source is evaluated.
        draw: (held out, facts, workdir, observed, variables, predict) -> None: the figures beside
            the learning curves.
        task: losses of the training, if they are not those of `held_out`.
        fit: how images are fitted to the input.
        more: other fields of the experiment.
    """
    first = {key: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for key, leaf in train[0].items()}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), *first["mask"].shape))
    image = jax.eval_shape(augment, keys, first)["image"]
    mean, std = statistics
    facts = Facts(
        task=name,
        model=recipe.model,
        dataset=recipe.dataset,
        num_classes=len(splits.class_names),
        class_names=tuple(splits.class_names),
        image_shape=tuple(image.shape[1:]),
        mean=mean,
        std=std,
        fit=fit,
        pixel_rule=splits.train.pixels.version,
        sample_bits=splits.train.pixels.bits,
        data=fingerprint.described(splits.sources()),
    )
    held = held_out(recipe, facts, model, splits.chosen_on)
    test = held.batches(**rows_of_process())
    notes, final = splits.notes, None
    if splits.validation is not None and splits.test is not None:
        try:
            last = held_out(recipe, facts, model, splits.test)
            final = partial(last.batches, **rows_of_process())
        except UnlabelledError as error:
            notes += (f"No test figures: {error}",)
            splits = splits._replace(test=None)
            facts = dataclasses.replace(facts, data=fingerprint.described(splits.sources()))
    if pretrained is not None and "note" in pretrained.metadata and not recipe.continue_run:
        notes += (f"Beginning with the weights of {pretrained.metadata['note']}.",)
    return Experiment(
        name=f"{recipe.model}-{recipe.dataset}",
        model=model,
        task=task or held.task,
        image=image,
        train=train,
        test=lambda: test,
        augment=augment,
        prepare=held.prepare,
        views=held.views,
        facts=facts,
        draw=partial(_draw, recipe, model, held, facts, draw),
        splits=splits,
        notes=notes,
        part="test" if splits.validation is None else "val",
        final=final,
        **{"variables": None if pretrained is None else pretrained.variables, **more},
    )


def _draw(
    recipe: Any, model: Network, held: HeldOut, facts: Facts, draw: Callable[..., None],
    workdir: Path, observed: Observed, variables: PyTree, predict: Callable[[HostBatch], Any],
) -> None:  # fmt: skip
    """The figures of every task, then those of its own."""
    curves.draw(recipe, model, facts.image_shape, workdir)
    draw(held, facts, workdir, observed, variables, predict)
