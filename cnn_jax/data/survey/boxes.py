"""A survey of the boxes of a split before training, without decoding images."""

import logging
from collections import Counter
from typing import NamedTuple

import numpy as np

from cnn_jax.data.loaders.boxes import tidy
from cnn_jax.data.types import Source

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


def survey_boxes(source: Source) -> BoxSurvey:
    """Reads all boxes of a split once, without decoding images; says which classes have none."""
    left_out: Counter = Counter()
    counts, classes, crowds = [], np.zeros(source.num_classes, np.int64), 0
    for start in range(0, len(source), _READ):
        for record in source.__getitems__(range(start, min(start + _READ, len(source)))):
            tidied = tidy(record, source.num_classes)
            left_out += tidied.left_out
            counts.append(len(tidied.boxes))
            classes += np.bincount(tidied.labels, minlength=source.num_classes)
            crowds += int(tidied.crowd.sum())
    absent = [name for name, n in zip(source.class_names, classes, strict=True) if not n]
    if absent and len(absent) < source.num_classes:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        _log.warning(
            "%s, split %s: %d of %d classes have no box, and cannot be learnt or tested here: %s%s",
            source.name, source.split, len(absent), source.num_classes, ", ".join(absent[:5]), more,
        )  # fmt: skip
    return BoxSurvey(
        len(counts), sum(counts), max(counts), counts.count(0), left_out, classes, crowds
    )
