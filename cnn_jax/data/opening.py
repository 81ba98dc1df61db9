"""The functions that open data sets, by what their examples hold and by how their names begin.

The modules are named here and imported when a set of theirs is asked for: TFDS takes a second to
import, and nothing that reads a data set has to be known to what asks for one.
"""

import pkgutil
from typing import Any

from cnn_jax.data.errors import DataError

# What an example holds -> (the whole name of a built-in set, or the word before the colon, or ''
# for all others) -> the function that opens it: (name, split, **options) -> Source, where name is
# what follows the colon, or the whole name.
OPENERS: dict[str, dict[str, str]] = {
    "class": {
        "mnist1d": "cnn_jax.data.readers.mnist1d:mnist1d_source",
        "mnist1d_shuffled": "cnn_jax.data.readers.mnist1d:mnist1d_source",
        "folder:": "cnn_jax.data.readers.folder:folder_source",
        "ucr:": "cnn_jax.data.readers.ucr:ucr_source",
        "": "cnn_jax.data.readers.tfds_classes:tfds_source",
    },
    "mask": {
        "masks:": "cnn_jax.data.readers.mask_folder:mask_folder_source",
        "": "cnn_jax.data.loaders.mask:tfds_mask_source",
    },
    "boxes": {
        "coco:": "cnn_jax.data.readers.coco:coco_source",
        "voc:": "cnn_jax.data.readers.voc:voc_source",
        "": "cnn_jax.data.loaders.boxes:tfds_box_source",
    },
}


def open_source(holds: str, dataset: str, split: str, **options: Any) -> Any:
    """Opens a split of a data set.

    Args:
        holds: what the examples must have: 'class', 'mask' or 'boxes'.
        dataset: name of the data set: 'cifar10:3.0.2', 'folder:PATH'.
        split: a split expression.
        options: options of the function that opens it.

    Returns:
        `cnn_jax.data.Source`, or the kind of it that the function makes.

    Raises:
        DataError: no such data set or split, or the split is empty.
    """
    openers = OPENERS[holds]
    kind, _, path = dataset.partition(":")
    if dataset in openers:
        key, name = dataset, dataset
    elif f"{kind}:" in openers:
        key, name = f"{kind}:", path
    else:
        key, name = "", dataset
    source = pkgutil.resolve_name(openers[key])(name, split, **options)
    if not len(source):
        raise DataError(f"split {split!r} of {dataset} is empty: ask for a larger part of it")
    return source
