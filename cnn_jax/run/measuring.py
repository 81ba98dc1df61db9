"""Measures a network on a split of a data set: its figures, and what each example got."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from cnn_jax import data, metrics
from cnn_jax.run import class_names, evaluated_data, inference, label_files, layouts
from cnn_jax.run import views as view_names
from cnn_jax.run.experiment import HeldOut
from cnn_jax.run.held_examples import Relabelled, names_of
from cnn_jax.run.machine import configured
from cnn_jax.run.opening import task_named
from cnn_jax.run.predictor import Predictor
from cnn_jax.run.recipe import DTYPES, TrainingRecipe
from cnn_jax.tasks import classification, segmentation
from cnn_jax.train import evaluation, layout, state, step
from cnn_jax.typing import Observed, Task

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
        freeze_inference: whether the network was frozen.
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
    freeze_inference: bool
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
    freeze_inference: bool = False,
    details: bool = True,
    recorded: Mapping[str, float] | None = None,
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
        freeze_inference: whether to freeze the network on a CPU, see `cnn_jax.cpu.freeze`: faster,
            and the last digits of the figures differ from those of the run. They are never
            compared with what is `recorded`.
        details: whether to keep what each example got.
        recorded: figures that the run has of the same evaluation. A program that also keeps what
            each example got may sum in another order: where its figures are not these, they are
            measured once more by the run's own program, which is without.
        progress: batches -> the same batches, for a progress bar.
        settings: see `cnn_jax.run.evaluate`.

    Raises:
        ValueError: the data or a setting cannot be used, or the data have other classes.
    """
    task = task_named(predictor.facts.task)
    recipe = evaluated_data.settings_of(predictor, task, dataset, split, settings)
    seen = view_names.parse(
        views, image_shape=predictor.facts.image_shape, task=predictor.facts.task
    )
    model = of_precision(predictor.model, precision, predictor.facts.model)
    began = time.monotonic()
    with configured(recipe):
        source, held, fitted = evaluated_data.held_out(predictor, task, recipe, model)
        what = f"{getattr(recipe, 'dataset', '')}, split {recipe.test_split},"
        known = _labels(predictor, source, labels, what)
        batches = held.batches()
        if known.images is not None or (known.classes and _changes(known.classes, predictor)):
            batches = Relabelled(batches, known)
        evaluated_data.check_images(predictor, model, held, batches)
        chosen = _among(among, known, predictor)
        kept = held.task
        if chosen is not None:
            kept = classification.choosing_among(kept, chosen)
        reported = metrics.with_metrics(kept, recipe.metrics)
        looked = _keeping_rows(reported, predictor.facts.task) if details else reported
        more, recorded = held.views, None if freeze_inference else recorded
        if seen and predictor.facts.task == "segmentation":
            model = view_names.Averaged(model, seen)
        elif seen:
            more = (*more, *view_names.of_class(seen))
        if freeze_inference:
            model = inference.FrozenNetwork(model, predictor.variables)
        devices, noted = _devices(recipe)
        where = layout.make_layout(recipe.layout, devices)

        def compiled(of: Task) -> Any:
            made = step.make_eval_step(
                model, of, axis_name=where.axis_name, prepare=held.prepare, views=more
            )
            return where.compile_eval(made)

        eval_step = compiled(looked)
        placed = where.replicate(state.state_from(predictor.variables, optax.identity(), ema=False))
        observed = evaluation.evaluate(eval_step, placed, progress(batches), where)
        assert observed is not None
        seconds = time.monotonic() - began
        first = next(iter(batches))
        ready = where.shard(layout.pad_batch(first, where.local_device_count))
        speed = rate(lambda: eval_step(placed, ready), len(first["mask"]))
        figures = reported.report(observed)
        same = {name: figures[name] for name in recorded or () if name in figures}
        if recorded and details and same != {name: recorded[name] for name in same}:
            again = evaluation.evaluate(compiled(reported), placed, progress(batches), where)
            assert again is not None
            figures = reported.report(again)
    counted = observed.rows.get("counted", np.zeros(0))
    frozen = "The network was frozen: the last digits may differ from those of the run."
    notes = [known.classes.said if known.classes else "", fitted, noted]
    notes += [frozen] * freeze_inference
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
        freeze_inference=freeze_inference,
        notes=tuple(filter(None, notes)),
        seconds=seconds,
        images_per_second=speed,
    )


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


def rate(run: Callable[[], Any], examples: int) -> float:
    """Examples a second of compiled calls: of the median of calls for RATED seconds."""
    times: list[float] = []
    while sum(times) < RATED and len(times) < 50:
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return examples / float(np.median(times))
