"""Images or volumes and labels in one file of NumPy (`npz:PATH`).

    train_images, train_labels, val_images, ..., test_labels    MedMNIST's names
    x_train, y_train, x_val, y_val, x_test, y_test              Keras's names

Images are [N, H, W] or [N, H, W, C], volumes [N, D, H, W] or [N, D, H, W, C]; labels are integers
[N] or [N, 1]. Yang et al. 2023, doi:10.1038/s41597-022-01721-8.
"""

import logging
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import fingerprint, remote
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.volume import LoadVolume
from cnn_jax.data.readers import npz_format, split_names
from cnn_jax.data.types import Record, Source

_log = logging.getLogger(__name__)


class ArrayRecords:
    """Records of arrays: {'image': uint8 [*space, C], 'label': int}.

    Worker processes read the file anew; so an array is not sent to them.

    Args:
        file: the file.
        images: name of the array of each record.
        rows: row of each record in its array.
        labels: label of each record, int [n]; or [n, K], 0 or 1 for each class.
    """

    def __init__(self, file: Path, images: Sequence[str], rows: np.ndarray, labels: np.ndarray):
        self.file, self.images, self.rows, self.labels = file, list(images), rows, labels
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [
            {
                "image": self.array(self.images[i])[self.rows[i]],
                "label": int(self.labels[i]) if self.labels.ndim == 1 else self.labels[i],
            }
            for i in indices
        ]

    def describe(self, index: int) -> str:
        return f"{self.file}, {self.images[index]}[{self.rows[index]}]"

    def array(self, name: str) -> np.ndarray:
        """The images of this name, uint8 [N, *space, C]."""
        if name not in self._arrays:
            self._arrays[name] = npz_format.read_images(self.file, name)
        return self._arrays[name]

    def stored(self) -> Iterable[Path]:
        return [self.file]

    def identities(self) -> Iterable[str | bytes]:
        """The checksums that the file has of its arrays, and which rows and labels these are."""
        with npz_format.one_line(self.file), zipfile.ZipFile(self.file) as archive:
            for name in sorted(set(self.images)):
                yield f"{name} {archive.getinfo(f'{name}.npy').CRC:08x}"
        yield from (fingerprint.array(self.rows), fingerprint.array(self.labels))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}


def open_npz(path: str, split: str, *, multilabel: bool = False) -> Source:
    """Opens a file of arrays; with `multilabel` labels are [N, K], 0 or 1 for each class.

    Classes are the labels that occur in any split, in the order of their values. Pixels are uint8
    in 0..255, or are numbers of another type that are equal to such: nothing is rescaled.

    Raises:
        DataError: there is no such file or split; it holds no such arrays, or ones of other shapes
            or values; there are fewer than two classes.
    """
    file = remote.here(f"npz:{path}", path)
    dataset = f"npz:{path}"
    if not path or not os.path.isfile(file):
        raise DataError(f"{dataset}: there is no file {file}; write npz:FILE")
    found = _splits(file, dataset)
    read = npz_format.read_several_labels if multilabel else npz_format.read_labels
    stored = {name: read(file, labels) for name, (_, labels) in found.items()}
    width = _common_width(stored, dataset) if multilabel else 1
    values = np.unique(np.concatenate(list(stored.values())))
    if len(values) < 2:
        raise DataError(f"{dataset}: every label is {values[0]}: wanted at least two classes")
    if not multilabel and "train" in stored and len(alien := np.setdiff1d(values, stored["train"])):
        _log.warning(
            "%s: no image of 'train' has the label %d, which others have", dataset, alien[0]
        )
    splits = {
        name: [(images, row, label) for row, label in enumerate(np.searchsorted(values, s))]
        for (name, (images, _)), s in zip(found.items(), stored.values(), strict=True)
    }
    chosen = split_names.select(splits, split, dataset=dataset)
    records = ArrayRecords(
        file,
        [images for images, _, _ in chosen],
        np.array([row for _, row, _ in chosen], np.int64),
        np.array([label for _, _, label in chosen], np.int64),
    )
    shapes = set()
    for images, labels in found.values():
        if images in records.images:
            array = records.array(images)
            shapes.add(array.shape[1:])
            if len(array) != len(read(file, labels)):
                raise DataError(
                    f"{dataset}: {images} has {len(array)} images and {labels} "
                    f"{len(read(file, labels))} labels: wanted one each"
                )
    if len(shapes) > 1:
        raise DataError(f"{dataset}: the images of {split!r} have the shapes {sorted(shapes)}")
    shape = shapes.pop() if shapes else (None, None, 1)
    return Source(
        name=file.resolve().stem,
        split=split,
        records=records,
        class_names=tuple(map(str, range(width) if multilabel else values)),
        image_shape=shape,
        load=LoadVolume() if len(shape) == 4 else None,
    )


def _common_width(stored: Mapping[str, np.ndarray], dataset: str) -> int:
    """The number of classes, which all splits must have."""
    widths = {name: labels.shape[1] for name, labels in stored.items()}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise DataError(f"{dataset}: labels of {said} classes: wanted as many in all splits")
    return next(iter(widths.values()))


def _splits(file: Path, dataset: str) -> dict[str, tuple[str, str]]:
    """Split -> the names of its images and labels."""
    names = npz_format.array_names(file)
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        if name.endswith("_images"):
            word = name.removesuffix("_images")
            beside = f"{word}_labels"
        elif name[:2] in ("x_", "X_"):
            word = name[2:]
            beside = f"y_{word}"
        else:
            continue
        split = split_names.canonical(word)
        if split is None:
            _log.warning("%s: left out %s, which names no split", dataset, name)
        elif beside not in names:
            raise DataError(f"{dataset}: there is {name} and no {beside}: add the labels")
        elif split in found:
            raise DataError(
                f"{dataset}: {found[split][0]} and {name} are both {split!r}: remove one"
            )
        else:
            found[split] = (name, beside)
    if not found:
        raise DataError(
            f"{dataset}: wanted train_images, train_labels, test_images, ... or x_train, y_train, "
            f"x_test, ...; found {', '.join(names[:10]) or 'nothing'}"
        )
    return found
