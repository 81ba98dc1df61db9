"""The smallest and the largest objects of a data set, where most faults of annotations are seen."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.data.loaders.boxes import tidy
from cnn_jax.data.types import Source

_READ = 256  # records read at a time


class Object(NamedTuple):
    """An object in an image.

    Attributes:
        record: its index.
        box: (left, top, right, bottom), as fractions of the image's sides.
        label: its class.
        share: its share of the image's area, 0..1.
    """

    record: int
    box: tuple[float, float, float, float]
    label: int
    share: float


def in_boxes(source: Source, indices: Sequence[int]) -> tuple[list[Object], Counter]:
    """The boxes of these records that are trained on, and reason -> number of the others.

    No image is decoded.
    """
    found: list[Object] = []
    left_out: Counter = Counter()
    for start in range(0, len(indices), _READ):
        chosen = [int(index) for index in indices[start : start + _READ]]
        for index, record in zip(chosen, source.__getitems__(chosen), strict=True):
            tidied = tidy(record, source.num_classes)
            left_out += tidied.left_out
            for box, label, crowd in zip(*tidied[:3], strict=True):
                if crowd:
                    left_out["crowds or difficult, not trained on"] += 1
                    continue
                left, top, right, bottom = map(float, box)
                share = (right - left) * (bottom - top)
                found.append(Object(index, (left, top, right, bottom), int(label), share))
    if cut := left_out.pop("cut", 0):
        left_out["clipped at the border, and kept"] = cut
    return found, left_out


def in_mask(index: int, mask: np.ndarray, classes: Sequence[int]) -> list[Object]:
    """The connected regions of each class in a mask int [H, W]; pixels touch along their sides.

    Args:
        index: of the record.
        mask: the class of each pixel.
        classes: those whose regions count.
    """
    import scipy.ndimage  # late: SciPy

    found = []
    height, width = mask.shape
    for label in classes:
        regions, _ = scipy.ndimage.label(mask == label)
        sizes = np.bincount(regions.ravel())[1:]
        for place, size in zip(scipy.ndimage.find_objects(regions), sizes, strict=True):
            rows, columns = place
            box = (
                columns.start / width, rows.start / height,
                columns.stop / width, rows.stop / height,
            )  # fmt: skip
            found.append(Object(index, box, label, float(size) / mask.size))
    return found


def extremes(objects: Sequence[Object], count: int) -> tuple[list[Object], list[Object]]:
    """The smallest and the largest objects by their share, one of each image at most."""
    ordered = sorted(objects, key=lambda o: (o.share, o.record, o.box))
    return _one_of_each(ordered, count), _one_of_each(ordered[::-1], count)


def _one_of_each(objects: Sequence[Object], count: int) -> list[Object]:
    chosen: dict[int, Object] = {}
    for each in objects:
        if len(chosen) == count:
            break
        chosen.setdefault(each.record, each)
    return list(chosen.values())
