"""What the splits of a data set hold: classes, sizes, objects, and a glance at a sample of each."""

import concurrent.futures
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_jax import data
from cnn_jax.analysis.look.contents import Split
from cnn_jax.data import objects, similarity
from cnn_jax.data.decode import image_size, read_image
from cnn_jax.data.examples import available_cpus
from cnn_jax.run import sights

MOST_COUNTED = 20_000  # examples whose classes are counted, where that takes reading them
MASKS = 64  # masks that are decoded
# A sample of so many pixels takes some three seconds of a core; an image counts as LEAST_PIXELS.
PIXELS, LEAST_PIXELS = 300_000_000, 40_000
SAMPLE = (100, 4_000)  # fewest and most examples in it


class Glance(NamedTuple):
    """What one decoded example shows.

    Attributes:
        record: its index.
        space: its shape as stored, without channels.
        thumbnail: see `similarity.thumbnail`.
        deviation: standard deviation of the thumbnail.
    """

    record: int
    space: tuple[int, ...]
    thumbnail: np.ndarray
    deviation: float


class Counted(NamedTuple):
    """What was found in a split.

    Attributes:
        split: the counts.
        unit: what classes are counted in.
        glances: the examples that were decoded.
        objects: boxes, regions of masks, or whole images if they differ in size.
        measure: what these are; '' for none.
    """

    split: Split
    unit: str
    glances: list[Glance]
    objects: list[objects.Object]
    measure: str


def count(source: data.Source, role: str, survey: data.SplitSurvey | None) -> Counted:
    """Counts and decodes what a look needs of a split; of large ones a sample, evenly spaced.

    Args:
        source: the split.
        role: what it is for.
        survey: of all its files; None if there is none.
    """
    glances, damaged = _glances(source)
    record = source[0]
    classes, examples = source.num_classes, len(source)
    left_out: Counter = Counter()
    if "boxes" in record:
        indices = similarity.evenly(examples, MOST_COUNTED)
        found, left_out = objects.in_boxes(source, indices)
        counts = np.bincount([each.label for each in found], minlength=classes)
        unit, measure, looked = "boxes", "objects", len(indices)
    elif "mask" in record and source.load is None:
        counts, found, looked = _masks(source)
        unit, measure = "pixels", "connected regions"
    else:
        labels = _labels(source)
        known = labels[(labels >= 0) & (labels < classes)]
        counts = np.bincount(known, minlength=classes)
        found, measure = _whole(source, glances, labels)
        unit, looked = "examples", len(labels)
    sizes, sized = Counter(glance.space for glance in glances), len(glances)
    if survey is not None:
        sizes, sized = Counter(survey.sizes), examples - survey.unreadable.count
        if unit != "pixels":
            counts, looked = np.array(survey.class_counts, np.int64), examples
    split = Split(
        role,
        source.split,
        examples,
        looked,
        counts,
        sized,
        sizes,
        damaged,
        left_out,
    )
    return Counted(split, unit, glances, found, measure)


def _glances(source: data.Source) -> tuple[list[Glance], list[str]]:
    """A glance at a sample, and what could not be decoded of it, a line each."""
    first = [size for i in similarity.evenly(len(source), 16) if (size := _pixels(source, i))]
    each = max(float(np.median(first)) if first else 0, LEAST_PIXELS)
    indices = similarity.evenly(len(source), int(np.clip(PIXELS / each, *SAMPLE)))
    with concurrent.futures.ThreadPoolExecutor(available_cpus()) as pool:
        seen = list(pool.map(lambda index: _glance(source, index), indices))
    glances = [each for each in seen if isinstance(each, Glance)]
    return glances, [each for each in seen if isinstance(each, str)]


def _pixels(source: data.Source, index: int) -> int:
    try:
        return int(np.prod(image_size(source[index]["image"])))
    except (ValueError, OSError, AttributeError, KeyError):
        return 0


def _glance(source: data.Source, index: int) -> Glance | str:
    try:
        pixels, space = _small(source, source[index])
    except (ValueError, OSError) as error:
        return f"{sights.name_of(source, index)}: {error}"
    thumbnail = similarity.thumbnail(pixels)
    return Glance(index, space, thumbnail, float(thumbnail.std()))


def _small(source: data.Source, record: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """A record in few pixels but in proportion, and its shape as stored."""
    if source.load is not None:
        whole = np.asarray(source.load(record, None)["image"])
        return whole, whole.shape[:-1]
    upright = record.get("upright", source.upright)
    read = read_image(record["image"])
    least = (similarity.SIDE, similarity.SIDE)
    pixels = data.decode_image(
        read, channels=1, upright=upright, min_size=least, rule=source.pixels
    )
    return pixels, image_size(read, upright=upright)


def _labels(source: data.Source) -> np.ndarray:
    """int64 [n]: the labels, of all records where they are in memory."""
    held = getattr(source.records, "labels", None)
    if held is not None and len(held) == len(source):
        return np.asarray(held, np.int64)
    records = source.__getitems__(similarity.evenly(len(source), MOST_COUNTED))
    return np.array([record.get("label", -1) for record in records], np.int64)


def _masks(source: data.Source) -> tuple[np.ndarray, list[objects.Object], int]:
    """Pixels of each class; regions of all classes but the most frequent one; masks decoded."""
    counts, masks = np.zeros(source.num_classes, np.int64), {}
    for index in similarity.evenly(len(source), MASKS):
        try:
            mask = sights.stored(source, index).mask
        except (ValueError, OSError):  # said by a glance, or by training
            continue
        assert mask is not None
        masks[index] = mask
        counts += np.bincount(mask[mask < len(counts)].ravel(), minlength=len(counts))
    rest = [int(k) for k in np.argsort(-counts, kind="stable")[1:] if counts[k]]
    found = [each for i, mask in masks.items() for each in objects.in_mask(i, mask, rest)]
    return counts, found, len(masks)


def _whole(
    source: data.Source, glances: Sequence[Glance], labels: np.ndarray
) -> tuple[list[objects.Object], str]:
    """The images as objects, if their sizes differ; `share` is then the number of pixels."""
    if len({glance.space for glance in glances}) < 2:
        return [], ""
    found = []
    for glance in glances:
        label = int(labels[glance.record]) if len(labels) == len(source) else 0
        share = float(np.prod(glance.space))
        found.append(objects.Object(glance.record, (0, 0, 1, 1), label, share))
    return found, "images"
