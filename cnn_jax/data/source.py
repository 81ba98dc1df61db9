"""Opens data sets for classification. See `load_source`."""

import dataclasses

from cnn_jax.data.errors import DataError
from cnn_jax.data.opening import open_source
from cnn_jax.data.types import Source


def load_source(
    dataset: str,
    split: str,
    *,
    data_dir: str | None = None,
    channels: int | None = None,
    skip_corrupt: bool = False,
) -> Source:
    """Opens a split of a dataset.

    Args:
        dataset: a TFDS name ('cifar10', 'cifar10:3.0.2', 'name/config'), 'digits', 'mnist1d' or
            'mnist1d_shuffled' (built in), 'folder:PATH', a folder with one sub-folder of images per
            class, or 'ucr:NAME', time series of the UCR and UEA archives.
        split: a TFDS split expression: 'train', 'train[:90%]', 'train+test'. For folders, a
            sub-folder of PATH ('train', 'val'), or 'all' or a slice of it if PATH has no splits.
        data_dir: directory of TFDS data, prepared as array_record. TFDS's own default
            (~/tensorflow_datasets or $TFDS_DATA_DIR) is searched too.
        channels: 1, 3 or 4, to override the dataset's own; 3 by default for folders.
        skip_corrupt: see `Source`.

    Raises:
        DataError: there is no such dataset or split, or it is not prepared and cannot be.
    """
    source: Source = open_source("class", dataset, split, data_dir=data_dir)
    if channels is not None:
        if source.load is not None:
            raise DataError(f"channels={channels}: {dataset} holds no images; leave channels out")
        if channels not in (1, 3, 4):
            raise DataError(f"channels={channels}: images are read with 1, 3 or 4 channels")
        source = dataclasses.replace(source, image_shape=(*source.image_shape[:2], channels))
    return dataclasses.replace(source, skip_corrupt=skip_corrupt)
