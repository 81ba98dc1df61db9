"""A source of records, and what makes an example of a record."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.data.pixel_rule import CURRENT, PixelRule

# What the examples of a source have besides their image: one class, a class for every pixel, or a
# box around every object.
Holds = Literal["label", "mask", "boxes"]
HOLDS: tuple[Holds, ...] = get_args(Holds)

# One example as it is stored. 'image' is encoded bytes, the path of a file of them, or pixels uint8
# [H, W, C]. Beside it stand, by what the source holds,
#   label   'label', an int
#   mask    'mask', encoded like the image
#   boxes   'boxes' float [n, 4], (left, top, right, bottom) as fractions of the image's sides;
#           'labels' int [n]; 'crowd' bool [n]
# and where an image is to be rotated as its EXIF orientation says, 'upright': True, whatever
# `Source.upright` is; a mask of the image as it is stored has its EXIF orientation as 'turn'.
# Other records come with a `Source.load` of their own.
Record = Mapping[str, Any]

Example = Mapping[str, ArrayLike]  # the arrays of an example, by name


class Loader(Protocol):
    """Makes an example of a record: arrays with the same names, shapes and types for every record.

    All randomness comes from `rng`; None means no randomness. A loader is hashable, for decoded
    examples are kept by their loader, and is pickled to worker processes. One that never draws may
    say so with an attribute `random = False`: its examples are decoded once if they fit in memory.
    """

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Example: ...


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
    """One split of one data set, not decoded yet.

    Attributes:
        name: name of the data set, without version: 'cifar10', 'digits', the folder's name.
        split: the split expression.
        records: the records.
        class_names: one name per class, in the order of the labels.
        image_shape: (height, width, channels); height and width are None if images differ in size.
            (length, channels) for sequences.
        upright: whether images are rotated as their EXIF orientation says. Folders of classes are;
            sets of TFDS are not, whose annotations belong to the pixels as they are stored. For
            folders with masks or boxes each record says it, see `cnn_jax.data.orientation`.
        pixels: the rule by which images become pixels, see `cnn_jax.data.pixel_rule`; a run's test
            images follow that of its training images.
        skip_corrupt: whether a record that cannot be decoded is skipped and counted, instead of
            raising an error.
        load: makes an example of a record that is not an image to decode and resize; None for
            images.
        left_out: reason -> names of the files beside the examples that are none: 'not an image'.
    """

    name: str
    split: str
    records: Records
    class_names: Sequence[str]
    image_shape: tuple[Any, ...]
    upright: bool = False
    pixels: PixelRule = CURRENT
    skip_corrupt: bool = False
    load: Loader | None = None
    left_out: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

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
