"""What the masks of a split hold, before training: masks of one class are nothing to learn.

A network trained on them has the loss 0 and the mean IoU 1, which looks like success. Masks are
read as a sample of SAMPLE, evenly spaced; where that shows one class alone, of MOST.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cnn_jax.data.decode import Stored, decode_mask
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.mask import IGNORE, translation
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SAMPLE = 32
MOST = 512
_GAPS = 10  # classes, from which on values that are mostly absent are suspicious


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spaced."""
    return sorted(
        {index * count // most for index in range(most)} if count > most else range(count)
    )


def values_of(
    masks: Iterable[Stored], *, enough: Callable[[set[int]], bool] = lambda values: False
) -> set[int]:
    """The values that occur in masks; they are read until `enough` says so.

    Raises:
        ValueError or OSError: a mask is damaged, or none.
        DataError: a file cannot be read.
    """
    found: set[int] = set()
    for mask in masks:
        found |= set(np.unique(decode_mask(mask)).tolist())
        if enough(found):
            break
    return found


def is_black_and_white(values: set[int], ignored: Sequence[int]) -> bool:
    """Whether 255 is the foreground, as in most masks of one kind of object.

    With 0 alone beside it, 255 as what is ignored would leave one class.
    """
    return IGNORE in values and IGNORE not in ignored and values - {IGNORE, *ignored} == {0}


def check_values(values: set[int], ignored: Sequence[int], dataset: str) -> None:
    """Says that the classes 0, 1, ..., by which values are counted, are mostly absent."""
    classes = sorted(values - {IGNORE, *ignored})
    if len(classes) and classes[-1] >= _GAPS and len(classes) < (classes[-1] + 1) / 2:
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        _log.warning(
            "%s: the masks have %d values, %s, of %d classes that are counted: write them as 0, 1, "
            "2, ... if they are classes", dataset, len(classes), shown, classes[-1] + 1,
        )  # fmt: skip


def check_masks(source: Source, dataset: str) -> None:
    """Refuses a training split whose masks hold one class, or none; warns of another one.

    Raises:
        DataError: the split is of training (its name begins with 'train' or is 'all'), and all its
            masks were read.
    """
    classes_of = np.array(translation(source), np.int16)
    found: set[int] = set()
    for most in (SAMPLE, MOST):
        read = []
        for index in evenly(len(source), most):
            try:
                values = np.unique(decode_mask(source[index]["mask"]))
            except (ValueError, OSError, KeyError):  # loading it raises an error, or skips it
                continue
            read.append(index)
            classes = classes_of[values]
            if (classes < 0).any():
                return  # likewise, and says which
            found |= set(classes[classes != IGNORE].tolist())
            if len(found) > 1:
                return
    if not read:
        return
    files = ", ".join(source.records.describe(index) for index in read[:3])
    what = f"only of the class {source.class_names[found.pop()]}" if found else "ignored, all"
    said = (
        f"{dataset}, split {source.split!r}: the pixels of {len(read)} masks are {what}, such "
        f"as those of {files}"
    )
    whole = len(source) <= MOST  # among others than a sample there may be masks with objects
    if whole and source.split.startswith(("train", "all")) and "[" not in source.split:
        raise DataError(
            f"{said}: there is nothing to learn; wanted masks with two classes at least. "
            f"{IGNORE} marks pixels that do not count"
        )
    _log.warning("%s: if the others are like them, there is nothing to learn or to measure", said)
