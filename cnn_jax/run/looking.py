"""Looks at the data of a recipe: what the network will be shown, and what may be wrong with it."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_jax import data, plugins
from cnn_jax.analysis.look.contents import Captioned, Example, Look, Pair
from cnn_jax.data import objects, similarity
from cnn_jax.run import shown, sights
from cnn_jax.run.inventory import Counted, count
from cnn_jax.run.machine import configured
from cnn_jax.run.openable import Openable, open_data, without_damaged
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.tasks import name_of, task_of

PAIRS, EXTREMES = 6, 6  # shown of each
SURVEYED = 200_000  # examples of all splits, up to which all files are surveyed: two minutes
_TRAIN = "train"

# Settings that say what the network is shown.
_SETTINGS = (
    "train_split", "validation_split", "fold", "test_split", "image_size", "channels", "crop",
    "fit", "jitter", "max_boxes", "augment", "mosaic", "mixup", "cutmix", "classes", "ignore",
    "skip_corrupt", "balance", "seed", "batch_size", "accumulate", "pretrained",
)  # fmt: skip


class _Batches(NamedTuple):
    """What the network is shown, see `Look`."""

    trained: list[Example]
    evaluated: list[Example]
    clipped: float


def look(recipe: TrainingRecipe, *, examples: int = 12, step: int = 0) -> Look:
    """Looks at the data that a recipe trains on. Nothing is trained; data are only read.

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
    heard: list[str] = []
    with configured(recipe), _hearing(heard):
        opened = open_data(recipe)
        survey, found = _survey(opened)
        surveyed = survey.splits if survey is not None else {}
        counted = {
            part: count(source, part, surveyed.get(part)) for part, source in opened.sources.items()
        }
        opened, batches = _batches(opened, counted, step, examples)
        sources, experiment = opened.sources, opened.experiment
        first = _TRAIN if _TRAIN in sources else next(iter(sources))
        frame: Sequence[int] = experiment.facts.image_shape if experiment is not None else ()
        fit = experiment.facts.fit if experiment is not None else ""
        smallest, largest = _extremes(sources[first], counted[first], frame, fit)
        notes = [*heard, *opened.notes, *found]
        return Look(
            dataset=getattr(recipe, "dataset", ""),
            task=name_of(task_of(recipe)),
            class_names=tuple(sources[first].class_names),
            counted=counted[first].unit,
            splits=[each.split for each in counted.values()],
            step=step,
            trained=batches.trained or _as_stored(sources[first], examples),
            evaluated=batches.evaluated,
            evaluated_on=_evaluated_on(opened),
            smallest=smallest,
            largest=largest,
            plainest=_plainest(sources[first], counted[first]),
            measure=counted[first].measure,
            pairs=_pairs(sources, counted),
            compared={part: len(each.glances) for part, each in counted.items()},
            notes=[note for note in dict.fromkeys(notes) if note != opened.refused],
            decided=experiment.notes if experiment is not None else (),
            settings=_settings(opened.recipe, recipe),
            input=tuple(frame),
            clipped=batches.clipped,
            refused=opened.refused,
            survey=survey,
        )


def _settings(used: TrainingRecipe, given: TrainingRecipe) -> dict[str, Any]:
    """Those by which the data are shown; splits as they were given."""
    known = [name for name in _SETTINGS if hasattr(used, name)]
    return {name: getattr(given if "split" in name else used, name) for name in known}


@contextlib.contextmanager
def _hearing(heard: list[str]) -> Iterator[None]:
    """Within the block, warnings of this package are added to `heard` and not shown otherwise:
    trying again to open the data would repeat them."""

    class Hears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    handler, logger = Hears(logging.WARNING), logging.getLogger("cnn_jax")
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


def _survey(opened: Openable) -> tuple[data.Survey | None, list[str]]:
    """What all files say, and what is wrong by that; None if there are too many, or unwanted."""
    if opened.recipe.survey == "off":
        return None, []
    if (total := sum(map(len, opened.sources.values()))) > SURVEYED:
        return None, [f"These are {total:,} examples: only samples of them were looked at."]
    try:
        dataset = getattr(opened.recipe, "dataset", "")
        survey = data.survey_splits(opened.sources, dataset=dataset)
    except ValueError as error:
        return None, [str(error)]
    found = data.findings(survey, skip_corrupt=opened.recipe.skip_corrupt)
    return survey, [finding.text for finding in found]


def _batches(
    opened: Openable, counted: Mapping[str, Counted], step: int, examples: int
) -> tuple[Openable, _Batches]:
    """What the network is shown; without damaged records, if there are any."""
    damaged = [line for each in counted.values() for line in each.split.damaged]
    if damaged and not opened.recipe.skip_corrupt:
        why = f"{damaged[0]}; skip_corrupt=true leaves such records out"
        opened = without_damaged(opened, why)
    try:
        return opened, _shown(opened, step, examples)
    except ValueError as error:  # a damaged record that was not looked at
        if opened.recipe.skip_corrupt:
            raise
        opened = without_damaged(opened, str(error))
        return opened, _shown(opened, step, examples)


def _shown(opened: Openable, step: int, examples: int) -> _Batches:
    experiment, sources = opened.experiment, opened.sources
    if experiment is None:
        return _Batches([], [], 0.0)
    trained, clipped = shown.trained(opened.recipe, experiment, sources[_TRAIN], step, examples)
    evaluated = []
    if part := _evaluated_on(opened):
        evaluated = shown.evaluated(experiment, sources[part], -(-examples // 2))
    return _Batches(trained, evaluated, clipped)


def _evaluated_on(opened: Openable) -> str:
    """The part that is evaluated during the training; '' if it cannot be shown."""
    if opened.experiment is None:
        return ""
    part = "validation" if opened.experiment.part == "val" else opened.experiment.part
    return part if part in opened.sources else ""


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
) -> tuple[list[Captioned], list[Captioned]]:
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
    return made[0], made[1]


def _plainest(source: data.Source, counted: Counted) -> list[Captioned]:
    positions = np.argsort([glance.deviation for glance in counted.glances], kind="stable")
    found = []
    for glance in (counted.glances[i] for i in positions[:EXTREMES]):
        sight = sights.stored(source, glance.record)._replace(mask=None, boxes=None, labels=None)
        numbers = {"deviation": round(glance.deviation, 2), "class": sight.text}
        found.append(Captioned(sights.name_of(source, glance.record), sight, numbers))
    return found


def _pairs(sources: Mapping[str, data.Source], counted: Mapping[str, Counted]) -> list[Pair]:
    """The most similar examples of the training split and of each other one."""
    others = [part for part in sources if part != _TRAIN]
    if _TRAIN not in sources or not others:
        return []
    pairs = []
    own = counted[_TRAIN].glances
    thumbnails = [glance.thumbnail for glance in own]
    for part in others:
        glances = counted[part].glances
        many = -(-2 * PAIRS // (1 + len(others)))
        found = similarity.most_similar(thumbnails, [g.thumbnail for g in glances], many)
        for each in found:
            one = _whole(sources[_TRAIN], own[each.first].record)
            other = _whole(sources[part], glances[each.second].record)
            same = np.array_equal(one.sight.pixels, other.sight.pixels)
            pairs.append(Pair(one, other, part, each.correlation, same))
    return sorted(pairs, key=lambda pair: not pair.same)


def _whole(source: data.Source, record: int) -> Captioned:
    return Captioned(sights.name_of(source, record), sights.stored(source, record), {})
