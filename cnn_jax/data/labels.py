"""The labels of a whole split, and how often each class occurs."""

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.types import Source

_CHUNK = 1024  # records read at a time, where labels are not in memory


def labels_of(source: Source) -> np.ndarray:
    """The label of every record: int64 [n], or [n, K] of 0 and 1 where an image may have several.

    They are read from the records where they are not in memory, which for some sets reads the
    images too.

    Raises:
        DataError: the records have no labels.
    """
    held = getattr(source.records, "labels", None)
    if held is not None and len(held) == len(source):
        return np.asarray(held, np.int64)
    found: list = []
    for start in range(0, len(source), _CHUNK):
        records = source.__getitems__(range(start, min(start + _CHUNK, len(source))))
        if not all("label" in record for record in records):
            raise DataError(f"{source.name}, split {source.split}: its records have no labels")
        found += [record["label"] for record in records]
    return np.asarray(found, np.int64)


def class_counts(source: Source) -> np.ndarray:
    """int64 [K]: the number of examples of each class."""
    labels = labels_of(source)
    if labels.ndim == 2:
        return labels.sum(0)
    return np.bincount(labels, minlength=source.num_classes)
