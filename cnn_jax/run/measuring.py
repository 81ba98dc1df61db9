"""Measures a network on a split of a data set: its figures, and what each example got."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flax.errors
import jax
import numpy as np
import optax

from cnn_jax import data, metrics, plugins
from cnn_jax.run import class_names, label_files, layouts
from cnn_jax.run import views as view_names
from cnn_jax.run.classification import ClassificationRecipe
from cnn_jax.run.experiment import HeldOut
from cnn_jax.run.held_examples import LoadPrepared, Relabelled, names_of
from cnn_jax.run.machine import configured
from cnn_jax.run.opening import task_named
from cnn_jax.run.predictor import ClassPredictor, Predictor
from cnn_jax.run.recipe import DTYPES, TrainingRecipe
from cnn_jax.run.splits import by_rule, open_splits
from cnn_jax.run.tasks import TaskRun
from cnn_jax.tasks import classification, segmentation
from cnn_jax.train import evaluation, layout, state, step
from cnn_jax.typing import Observed, Task

# The settings that every recipe has and that an evaluation reads.
_EVALUATED = {
    *("data_dir", "test_split", "skip_corrupt", "workers", "batch_size", "eval_batch_size"),
    *("metrics", "cpu_convolutions", "compilation_cache", "plugin", "devices", "layout"),
}
# Seconds of repeated steps that a rate is measured over, at least.
RATED = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What `measure` found.

    Attributes:
        predictor: the network.
        recipe: the settings of the evaluation.
        figures: figures by name, as in a run's metrics.jsonl.
        observed: what they were made of, with rows of each example.
        counted: indices of the examples that count.
        source: the data.
        batches: their batches; `batches.at(indices)` gives some of them.
        held: how they were evaluated.
        labels: classes of the data, or of the images, among the network's.
        among: bool [K], the classes that predictions were chosen among; None for all.
        views: names of the test-time views.
        precision: '' for the network's own.
        notes: what the user should know.
        seconds: time of the evaluation, with compilation and decoding.
        images_per_second: of the compiled step alone, without decoding.
    """

    predictor: Predictor
    recipe: TrainingRecipe
    figures: dict[str, float]
    observed: Observed
    counted: np.ndarray
    source: data.Source
    batches: Any
    held: HeldOut
    labels: label_files.Labels
    among: np.ndarray | None
    views: tuple[str, ...]
    precision: str
    notes: tuple[str, ...]
    seconds: float
    images_per_second: float

    def row(self, name: str) -> np.ndarray:
        """The rows of this name of the examples that count."""
        return self.observed.rows[name][self.counted]


def measure(
    predictor: Predictor,
    *,
    dataset: str = "",
    split: str = "",
    views: str = "",
    precision: str = "",
    labels: str = "",
    among: str = "",
    details: bool = True,
    progress: Callable[[Any], Iterable[Any]] = iter,
    **settings: Any,
) -> Measured:
    """Evaluates an opened network. Nothing is written.

    Args:
        predictor: see `cnn_jax.run.open` and `cnn_jax.run.published`.
        dataset: name of the data set; default: that of the training.
        split: its split; default: the one that the run was evaluated on; of published weights
            'test'.
        views: test-time views, 'flip,half_turn' of `cnn_jax.run.views.VIEWS`, whose logits are
            averaged with those of the image.
        precision: of the arithmetic, 'float32' or 'bfloat16'; default: that of the training.
        labels: file that says the classes of the images or of the data, see
            `cnn_jax.run.label_files`.
        among: classes that a prediction is chosen among: 'all' of the network, or those of the
            'data'. Default: all, or those that `labels` chooses.
        details: whether to keep what each example got.
        progress: batches -> the same batches, for a progress bar.
        settings: see `cnn_jax.run.evaluate`.

    Raises:
        ValueError: the data or a setting cannot be used, or the data have other classes.
    """
    task = task_named(predictor.facts.task)
    recipe = _recipe(predictor, task, dataset, split, settings)
    seen = view_names.parse(
        views, image_shape=predictor.facts.image_shape, task=predictor.facts.task
    )
    model = of_precision(predictor.model, precision, predictor.facts.model)
    with configured(recipe):
        source, held, fitted = _held_out(predictor, task, recipe, model)
        what = f"{getattr(recipe, 'dataset', '')}, split {recipe.test_split},"
        known = _labels(predictor, source, labels, what)
        batches = held.batches()
        if known.images is not None or (known.classes and _changes(known.classes, predictor)):
            batches = Relabelled(batches, known)
        _check_images(predictor, model, held, batches)
        chosen = _among(among, known, predictor)
        kept = held.task
        if chosen is not None:
            kept = classification.choosing_among(kept, chosen)
        reported = metrics.with_metrics(kept, recipe.metrics)
        looked = _keeping_rows(reported, predictor.facts.task) if details else reported
        more = held.views
        if seen and predictor.facts.task == "segmentation":
            model = view_names.Averaged(model, seen)
        elif seen:
            more = (*more, *view_names.of_class(seen))
        devices, noted = _devices(recipe)
        where = layout.make_layout(recipe.layout, devices)
        eval_step = where.compile_eval(
            step.make_eval_step(
                model, looked, axis_name=where.axis_name, prepare=held.prepare, views=more
            )
        )
        placed = where.replicate(state.state_from(predictor.variables, optax.identity(), ema=False))
        began = time.monotonic()
        observed = evaluation.evaluate(eval_step, placed, progress(batches), where)
        assert observed is not None
        seconds = time.monotonic() - began
        first = next(iter(batches))
        ready = where.shard(layout.pad_batch(first, where.local_device_count))
        speed = rate(lambda: eval_step(placed, ready), len(first["mask"]))
        figures = reported.report(observed)
    counted = observed.rows.get("counted", np.zeros(0))
    notes = [known.classes.said if known.classes else "", fitted, noted]
    if (chosen is not None) and known.classes is not None:
        notes.append(f"Predictions are chosen among {int(chosen.sum())} of {len(chosen)} classes.")
    if skipped := len(getattr(batches, "corrupt", {})):
        notes.append(f"{skipped} examples could not be read and are left out.")
    return Measured(
        predictor=predictor,
        recipe=recipe,
        figures=figures,
        observed=observed,
        counted=np.flatnonzero(counted > 0),
        source=source,
        batches=batches,
        held=held,
        labels=known,
        among=chosen,
        views=seen,
        precision=precision,
        notes=tuple(filter(None, notes)),
        seconds=seconds,
        images_per_second=speed,
    )


def _recipe(
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


def of_precision(model: Any, precision: str, name: str) -> Any:
    """The network with its arithmetic in another precision; '' for its own.

    Raises:
        ValueError: it has none to choose, or the precision is unknown.
    """
    if not precision:
        return model
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision={precision}: wanted float32 or bfloat16.")
    if "dtype" not in {field.name for field in dataclasses.fields(model)}:
        raise ValueError(f"precision={precision}: {name} has no field dtype. Leave it out.")
    return model.clone(dtype=DTYPES.get(precision, precision))


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


def _held_out(
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


def _labels(predictor: Predictor, source: data.Source, file: str, what: str) -> label_files.Labels:
    network = predictor.facts.class_names
    if not file:
        return label_files.Labels(class_names.match(source.class_names, network, what=what))
    if predictor.facts.task != "classification":
        raise ValueError("`labels` is for classification. Leave it out.")
    return label_files.read(file, network=network, data=source.class_names, images=names_of(source))


def _changes(found: class_names.ClassMap, predictor: Predictor) -> bool:
    return list(found.indices) != list(range(len(predictor.facts.class_names)))


def _among(among: str, known: label_files.Labels, predictor: Predictor) -> np.ndarray | None:
    if among not in ("", "all", "data"):
        raise ValueError(f"among={among}: wanted all, or data.")
    if among == "data" and predictor.facts.task != "classification":
        raise ValueError("among=data: for classification. Leave it out.")
    if among == "all" or known.classes is None:
        return None
    if among == "data":
        return class_names.choose(among, known.classes.indices, len(predictor.facts.class_names))
    return known.classes.among


def _keeping_rows(task: Task, name: str) -> Task:
    """The task, which also keeps what each example got."""
    rows: dict[str, Callable] = {
        "classification": classification.example_rows,
        "segmentation": segmentation.example_rows,
    }

    def observe(outputs: Any, batch: Any) -> Observed:
        observed = task.observe(outputs, batch)
        more = rows[name](outputs, batch) if name in rows else {}
        return Observed(observed.sums, {**observed.rows, **more, "counted": batch["mask"]})

    return task._replace(observe=observe)


def _devices(recipe: TrainingRecipe) -> tuple[list[jax.Device], str]:
    """The devices of the recipe, or those that there are."""
    have = len(jax.devices())
    if recipe.devices <= have:
        return layouts.devices_of(recipe.devices), ""
    return jax.devices(), (
        f"The run is of {recipe.devices} devices, and there are {have} here: figures may differ "
        "in their last digits."
    )


def _check_images(predictor: Predictor, model: Any, held: HeldOut, batches: Any) -> None:
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


def rate(run: Callable[[], Any], examples: int) -> float:
    """Examples a second of compiled calls: of the median of calls for RATED seconds."""
    times: list[float] = []
    while sum(times) < RATED and len(times) < 50:
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return examples / float(np.median(times))
