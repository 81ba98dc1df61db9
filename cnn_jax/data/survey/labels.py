"""The labels of a split, before training: there must be one for each image, and several classes.

Test sets of competitions come with the label -1, or none. Labels are read all where they are in
memory, and else as a sample of SAMPLE records, evenly spaced.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cnn_jax.data.errors import DataError, UnlabelledError
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SAMPLE = 64
NONE = -1  # the label of an image without one


def is_unlabelled(value: Any, labels: Mapping[str, Iterable[Any]]) -> bool:
    """Whether a value that occurs in any split is no class: it is -1, which no image of the
    training split has.

    Args:
        value: a label as it is stored, a number or a text.
        labels: split -> its labels.
    """
    return str(value) == str(NONE) and "train" in labels and value not in set(labels["train"])


def check_labels(source: Source, dataset: str) -> None:
    """Refuses a split with labels of no class, and a training split with one class alone.

    Raises:
        DataError: see above; the message names the first three images.
    """
    labels, indices = _labels(source)
    if labels is None or not len(labels):
        return
    if labels.ndim > 1:  # several for an image, which their reader has checked
        return
    said = f"{dataset}, split {source.split!r}"
    wrong = np.flatnonzero((labels < 0) | (labels >= source.num_classes))
    if len(wrong):
        names = [source.records.describe(int(indices[i])) or f"record {i}" for i in wrong[:3]]
        more = f" and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        none = len(wrong) == len(labels) and (labels == NONE).all()
        raise (UnlabelledError if none else DataError)(
            f"{said}: {'all' if len(wrong) == len(labels) else len(wrong)} of {len(labels)} images "
            f"have the label {labels[wrong[0]]}, which is none of {source.num_classes} classes: "
            f"{', '.join(names)}{more}. Choose a split with labels, such as a part of train"
        )
    if len(labels) < len(source) or (labels != labels[0]).any():
        return
    said += f": all {len(labels)} images are of the class {source.class_names[labels[0]]}"
    if source.split.startswith(("train", "all")) and "[" not in source.split:
        raise DataError(f"{said}, and there is nothing to learn: wanted images of two at least")
    _log.warning("%s: an accuracy on one class says little; add others", said)


def _labels(source: Source) -> tuple[np.ndarray | None, np.ndarray]:
    """Labels int64 [n], and the indices of their records; None for records without."""
    held = getattr(source.records, "labels", None)
    if held is not None and len(held) == len(source):
        return np.asarray(held, np.int64), np.arange(len(source))
    count = min(len(source), SAMPLE)
    indices = np.arange(count) * len(source) // max(count, 1)
    records = source.__getitems__(indices.tolist())
    if not all("label" in record for record in records):
        return None, indices
    return np.array([record["label"] for record in records], np.int64), indices
