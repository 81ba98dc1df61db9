"""A source of examples: records by index, and their description. See `load_source`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cnn_jax.data.errors import DataError

# One example as it is stored: 'image', encoded bytes or the path of a file of them, and 'label',
# an int. Other kinds of sources add keys of their own.
Record = Mapping[str, Any]


class Records(Protocol):
    """Random access to records, cheap to pickle (worker processes open the files anew)."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        """The records at these indices: storage is faster at reading many at once."""
        ...

    def describe(self, index: int) -> str:
        """The name of a record for messages, such as its file or its key."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One split of one dataset, not decoded yet.

    Attributes:
        name: name of the dataset, without version: 'cifar10', 'digits', the folder's name.
        split: the split expression.
        records: the records.
        class_names: one name per class, in the order of the labels.
        image_shape: (height, width, channels); height and width are None if images differ in size.
            (length, channels) for sequences.
        upright: whether images are rotated as their EXIF orientation says.
        skip_corrupt: whether a record that cannot be decoded is skipped and counted, instead of
            raising an error.
        load: makes an example from a record that is not an image to decode and resize; see
            `cnn_jax.data.examples.Load`.
    """

    name: str
    split: str
    records: Records
    class_names: Sequence[str]
    image_shape: tuple[Any, ...]
    upright: bool = False
    skip_corrupt: bool = False
    load: Callable[[Record, Any], Mapping[str, Any]] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return self.records.__getitems__(indices)

    def describe(self, index: int) -> str:
        """'cifar10, split train, record 17 (train_cat_2970)'."""
        name = self.records.describe(index)
        return f"{self.name}, split {self.split}, record {index}" + (f" ({name})" if name else "")


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
    from cnn_jax.data import mnist1d

    kind, _, path = dataset.partition(":")
    if dataset in mnist1d.NAMES:
        source = mnist1d.mnist1d_source(dataset, split)
    elif kind == "folder":
        from cnn_jax.data.folder import folder_source

        source = folder_source(path, split)
    elif kind == "ucr":
        from cnn_jax.data.ucr import ucr_source

        source = ucr_source(path, split, data_dir=data_dir)
    else:
        from cnn_jax.data.tfds import tfds_source

        source = tfds_source(dataset, split, data_dir=data_dir)
    if not len(source):
        raise DataError(f"split {split!r} of {dataset} is empty: ask for a larger part of it")
    if channels is not None:
        if source.load is not None:
            raise DataError(f"channels={channels}: {dataset} holds no images; leave channels out")
        if channels not in (1, 3, 4):
            raise DataError(f"channels={channels}: images are read with 1, 3 or 4 channels")
        source = dataclasses.replace(source, image_shape=(*source.image_shape[:2], channels))
    return dataclasses.replace(source, skip_corrupt=skip_corrupt)
