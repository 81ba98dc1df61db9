"""A source of examples: records by index, and their description."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

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
