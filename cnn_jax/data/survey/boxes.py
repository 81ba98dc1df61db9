"""A survey of the boxes of a split before training, without decoding images."""

import logging
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from cnn_jax.data.loaders.boxes import tidy
from cnn_jax.data.survey.values import Boxes
from cnn_jax.data.types import Record, Source

_log = logging.getLogger(__name__)

_READ = 256  # records read at a time


class BoxSurvey(NamedTuple):
    """The contents of a split.

    Attributes:
        images: number of images.
        boxes: number of usable boxes.
        most: largest number of usable boxes in an image.
        empty: number of images without usable boxes.
        left_out: see `Tidied`.
        per_class: int [K], number of usable boxes of each class.
        crowds: number of usable boxes that are crowds, which are not trained on.
    """

    images: int
    boxes: int
    most: int
    empty: int
    left_out: Counter
    per_class: np.ndarray
    crowds: int = 0

    def __str__(self) -> str:
        text = (
            f"{self.images:,} images, {self.boxes:,} boxes, at most {self.most} in one, "
            f"{self.empty} without any"
        )
        if self.crowds:
            text += f"; {self.crowds:,} of them are crowds or difficult, which are not trained on"
        reasons = [f"{n} {reason}" for reason, n in self.left_out.items() if reason != "cut"]
        if reasons:
            text += f"; left out: {', '.join(reasons)}"
        if self.left_out["cut"]:
            text += f"; clipped at the border: {self.left_out['cut']}"
        return text


class BoxTally:
    """Counts the boxes of records as they are read."""

    def __init__(self, num_classes: int):
        self.counts: list[int] = []  # usable boxes of each image, in any order
        self.per_class = np.zeros(num_classes, np.int64)
        self.left_out: Counter = Counter()
        self.sides: Counter = Counter()  # see `Boxes`
        self.crowds = 0

    def add(self, record: Record, size: tuple[int, int] = (0, 0)) -> None:
        """Counts the boxes of a record, whose image is of this (height, width) if it is known."""
        tidied = tidy(record, len(self.per_class))
        self.left_out += tidied.left_out
        self.counts.append(len(tidied.boxes))
        self.per_class += np.bincount(tidied.labels, minlength=len(self.per_class))
        self.crowds += int(tidied.crowd.sum())
        if size[0] and size[1]:
            sides = tidied.boxes[:, 2:] - tidied.boxes[:, :2]
            area = sides.prod(1) * (int(size[0]) * int(size[1]))
            self.sides.update(_power_of_two(one) for one in np.sqrt(area).tolist())

    def add_all(self, other: "BoxTally") -> None:
        """Counts what another has counted, too."""
        self.counts += other.counts
        self.per_class += other.per_class
        self.left_out += other.left_out
        self.sides += other.sides
        self.crowds += other.crowds

    def boxes(self) -> Boxes:
        return Boxes(
            count=sum(self.counts),
            most=max(self.counts, default=0),
            empty=self.counts.count(0),
            crowds=self.crowds,
            sides=dict(sorted(self.sides.items())),
            left_out=dict(self.left_out),
        )


def survey_boxes(source: Source) -> BoxSurvey:
    """Reads all boxes of a split once, without decoding images; says which classes have none."""
    tally = BoxTally(source.num_classes)
    for start in range(0, len(source), _READ):
        for record in source.__getitems__(range(start, min(start + _READ, len(source)))):
            tally.add(record)
    classes, counts = tally.per_class, tally.counts
    absent = [name for name, n in zip(source.class_names, classes, strict=True) if not n]
    if absent and len(absent) < source.num_classes:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        _log.warning(
            "%s, split %s: %d of %d classes have no box, and cannot be learnt or tested here: %s%s",
            source.name, source.split, len(absent), source.num_classes, ", ".join(absent[:5]), more,
        )  # fmt: skip
    return BoxSurvey(
        len(counts), sum(counts), max(counts), counts.count(0), tally.left_out, classes,
        tally.crowds,
    )  # fmt: skip


def _power_of_two(side: float) -> int:
    """The largest power of two that is at most `side`; 0 below 1."""
    return 2 ** int(math.log2(side)) if side >= 1 else 0
