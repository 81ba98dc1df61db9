"""Looks at the data of a recipe: what the network will be shown, and what may be wrong with it."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax import data, plugins
from cnn_jax.analysis.look.contents import Captioned, Example, Look, Pair
from cnn_jax.data import objects, similarity
from cnn_jax.run import sights
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.inventory import Counted, count
from cnn_jax.run.machine import configured
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import TaskRun, name_of, task_of
from cnn_jax.train.step import make_shown

SIZE = 224  # pixels that images are shown at if they differ in size and the recipe has none
PAIRS, EXTREMES = 6, 6  # shown of each
_ROLES = {"train_split": "training", "test_split": "evaluation"}

# Settings that say what the network is shown.
_SETTINGS = (
    "train_split", "test_split", "image_size", "channels", "crop", "fit", "jitter", "max_boxes",
    "augment", "mosaic", "mixup", "cutmix", "classes", "ignore", "skip_corrupt", "seed",
    "batch_size", "accumulate", "pretrained",
)  # fmt: skip


class _Opened(NamedTuple):
    """What could be opened.

    Attributes:
        recipe: by which it was; not always the one given.
        experiment: of the recipe; None if training refuses the data.
        sources: role -> data.
        refused: why training refuses what was given; '' if it does not.
    """

    recipe: TrainingRecipe
    experiment: Experiment | None
    sources: dict[str, data.Source]
    refused: str


class _Batches(NamedTuple):
    """What the network is shown, see `Look`."""

    trained: list[Example]
    evaluated: list[Example]
    clipped: float


def look(recipe: TrainingRecipe, *, examples: int = 12, step: int = 0) -> Look:
    """Looks at the data that a recipe trains on. Nothing is trained, and nothing written.

    Batches, augmentation and preparation are those of the run: the examples of a training step are
    what that step of that run is shown. Data that training refuses are shown as far as they can be
    opened, with the reason.

    Args:
        recipe: as for `train`.
        examples: number of training examples to show; half as many of the evaluation.
        step: the training step whose batch is shown.

    Raises:
        ValueError: a setting cannot be used, or none of the data can be opened.
    """
    if examples < 1 or step < 0:
        raise ValueError(f"examples={examples}, step={step}: wanted at least 1, and 0.")
    plugins.load_all(recipe.plugin)
    notes: list[str] = []
    with configured(recipe), _heard(notes):
        opened = _open(task_of(recipe), recipe, notes)
        return _look(opened, examples, step, notes)


def _look(opened: _Opened, examples: int, step: int, notes: list[str]) -> Look:
    counted = {role: count(source, role) for role, source in opened.sources.items()}
    damaged = [line for each in counted.values() for line in each.split.damaged]
    if damaged and not opened.recipe.skip_corrupt:
        opened = _skipping(opened, f"{damaged[0]}; skip_corrupt=true leaves such records out")
    try:
        batches = _batches(opened, step, examples)
    except ValueError as error:  # a damaged record that was not looked at
        if opened.recipe.skip_corrupt:
            raise
        opened = _skipping(opened, str(error))
        batches = _batches(opened, step, examples)
    recipe, experiment, sources, refused = opened
    frame: tuple[int, ...] = ()
    fit = ""
    if experiment is not None:
        frame, fit = experiment.facts.image_shape, experiment.facts.fit
    first = next(iter(sources))  # the training split, unless that cannot be opened
    smallest, largest, measure = _extremes(sources[first], counted[first], frame, fit)
    pairs, compared = _pairs(sources, counted)
    return Look(
        dataset=getattr(recipe, "dataset", ""),
        task=name_of(task_of(recipe)),
        class_names=tuple(sources[first].class_names),
        counted=counted[first].unit,
        splits=[each.split for each in counted.values()],
        step=step,
        trained=batches.trained or _as_stored(sources[first], examples),
        evaluated=batches.evaluated,
        smallest=smallest,
        largest=largest,
        plainest=_plainest(sources[first], counted[first]),
        measure=measure,
        pairs=pairs,
        compared=compared,
        notes=list(dict.fromkeys(notes)),
        settings={name: getattr(recipe, name) for name in _SETTINGS if hasattr(recipe, name)},
        input=tuple(frame),
        clipped=batches.clipped,
        refused=refused,
    )


def _skipping(opened: _Opened, why: str) -> _Opened:
    """The same data without their damaged records, for which training would stop."""
    refused = opened.refused or why
    recipe = dataclasses.replace(opened.recipe, skip_corrupt=True)
    task = task_of(recipe)
    if opened.experiment is None:
        return opened._replace(recipe=recipe, refused=refused)
    experiment = task.make_experiment(recipe)
    return _Opened(recipe, experiment, _sources(task, recipe, experiment), refused)


def _batches(opened: _Opened, step: int, examples: int) -> _Batches:
    if opened.experiment is None:
        return _Batches([], [], 0.0)
    sources, made = opened.sources, opened.experiment
    trained, clipped = _trained(opened.recipe, made, sources["training"], step, examples)
    evaluated = _evaluated(made, sources["evaluation"], -(-examples // 2))
    return _Batches(trained, evaluated, clipped)


@contextlib.contextmanager
def _heard(notes: list[str]) -> Iterator[None]:
    """Within the block, warnings of this package are also added to `notes`."""

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    handler, logger = Hears(logging.WARNING), logging.getLogger("cnn_jax")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _open(task: TaskRun, recipe: TrainingRecipe, notes: list[str]) -> _Opened:
    """The experiment; if training refuses the data, what they are nevertheless."""
    try:
        experiment = task.make_experiment(recipe)
        return _Opened(recipe, experiment, _sources(task, recipe, experiment), "")
    except ValueError as error:
        refused: ValueError = error
    sources, wrong = {}, []
    for setting, role in _ROLES.items():
        try:
            if task.open_split is not None:
                sources[role] = task.open_split(recipe, getattr(recipe, setting))
        except ValueError as error:
            wrong.append(str(error))
    if not sources:
        raise refused
    why = str(refused)
    if not wrong:
        chosen: Any = recipe
        sized = all(None not in source.image_shape[:2] for source in sources.values())
        if not sized and hasattr(recipe, "image_size") and not recipe.image_size:
            chosen = dataclasses.replace(chosen, image_size=type(recipe.image_size)(SIZE))
            notes.append(
                f"The images may differ in size, and training needs one for all: here they are "
                f"shown as with image_size={SIZE}."
            )
            why = ""
        for skip in (recipe.skip_corrupt, True):
            chosen = dataclasses.replace(chosen, skip_corrupt=skip)
            try:
                experiment = task.make_experiment(chosen)
                return _Opened(chosen, experiment, _sources(task, chosen, experiment), why)
            except ValueError as error:
                why = why or str(error)
    notes += [each for each in wrong if each != why]
    return _Opened(recipe, None, sources, why)


def _sources(
    task: TaskRun, recipe: TrainingRecipe, experiment: Experiment
) -> dict[str, data.Source]:
    if experiment.splits is not None:
        return {"training": experiment.splits.train, "evaluation": experiment.splits.chosen_on}
    if task.open_split is None:
        raise ValueError(f"The task {name_of(task)!r} does not say how its data are opened.")
    return {role: task.open_split(recipe, getattr(recipe, s)) for s, role in _ROLES.items()}


def _trained(
    recipe: TrainingRecipe, experiment: Experiment, source: data.Source, step: int, examples: int
) -> tuple[list[Example], float]:
    """The first examples of a training step, and the share of their values outside 0..1."""
    batch = dict(experiment.train[step])
    shown = make_shown(experiment.augment, seed=recipe.seed, accumulate=recipe.accumulate)
    after = jax.device_get(jax.jit(shown)(step, batch))
    indices = experiment.train.indices(step)
    found = []
    for row in range(min(examples, recipe.batch_size)):
        index = int(indices[row])
        while index in experiment.train.corrupt:  # the next one took its place
            index = (index + 1) % len(source)
        found.append(_example(experiment, source, index, batch, after, row))
    return found, _outside(after["image"][:examples], experiment)


def _evaluated(experiment: Experiment, source: data.Source, examples: int) -> list[Example]:
    batch = dict(experiment.test()[0])
    after = jax.device_get(jax.jit(experiment.prepare)(batch))
    rows = np.flatnonzero(batch["mask"])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(examples, len(rows))).astype(int))]
    return [_example(experiment, source, int(i), batch, after, int(i)) for i in rows]


def _example(
    experiment: Experiment, source: data.Source, index: int, batch: Any, after: Any, row: int
) -> Example:
    names, facts = source.class_names, experiment.facts
    own = {name: value[row] for name, value in after.items()}
    return Example(
        sights.name_of(source, index),
        sights.stored(source, index),
        sights.of_row({name: value[row] for name, value in batch.items()}, names),
        sights.of_row(own, names, (facts.mean, facts.std)),
    )


def _outside(images: np.ndarray, experiment: Experiment) -> float:
    """The share of values that pixels cannot have; of images alone."""
    if images.ndim < 4:
        return 0.0
    unit = images * np.asarray(experiment.facts.std) + np.asarray(experiment.facts.mean)
    return float(((unit < -1e-3) | (unit > 1 + 1e-3)).mean())


def _as_stored(source: data.Source, examples: int) -> list[Example]:
    """Examples of data that training refuses."""
    found = []
    for index in similarity.evenly(len(source), examples):
        with contextlib.suppress(ValueError, OSError):  # those are counted as damaged
            sight = sights.stored(source, index)
            found.append(Example(sights.name_of(source, index), sight, sight, sight))
    return found


def _extremes(
    source: data.Source, counted: Counted, frame: Sequence[int], fit: str
) -> tuple[list[Captioned], list[Captioned], str]:
    made: list[list[Captioned]] = []
    for some in objects.extremes(counted.objects, EXTREMES):
        made.append([])
        for each in some:
            if counted.measure == "images":
                sight = sights.stored(source, each.record)
                numbers = {"class": sight.text, "image": sight.size}
                made[-1].append(Captioned(sights.name_of(source, each.record), sight, numbers))
            else:
                made[-1].append(sights.part(source, each, tuple(frame), fit))
    return made[0], made[1], counted.measure


def _plainest(source: data.Source, counted: Counted) -> list[Captioned]:
    positions = np.argsort([glance.deviation for glance in counted.glances], kind="stable")
    found = []
    for glance in (counted.glances[i] for i in positions[:EXTREMES]):
        sight = sights.stored(source, glance.record)._replace(mask=None, boxes=None, labels=None)
        numbers = {"deviation": round(glance.deviation, 2), "class": sight.text}
        found.append(Captioned(sights.name_of(source, glance.record), sight, numbers))
    return found


def _pairs(
    sources: dict[str, data.Source], counted: dict[str, Counted]
) -> tuple[list[Pair], dict[str, int]]:
    compared = {role: len(each.glances) for role, each in counted.items()}
    if len(sources) < 2:
        return [], compared
    (first, ours), (second, theirs) = sources.items()
    glances = counted[first].glances, counted[second].glances
    thumbnails = [[glance.thumbnail for glance in some] for some in glances]
    pairs = []
    for pair in similarity.most_similar(thumbnails[0], thumbnails[1], PAIRS):
        one = _whole(ours, glances[0][pair.first].record)
        other = _whole(theirs, glances[1][pair.second].record)
        same = np.array_equal(one.sight.pixels, other.sight.pixels)
        pairs.append(Pair(one, other, pair.correlation, same))
    return sorted(pairs, key=lambda pair: not pair.same), compared


def _whole(source: data.Source, index: int) -> Captioned:
    return Captioned(sights.name_of(source, index), sights.stored(source, index), {})
