"""A folder of images with a folder of masks (`masks:PATH`)."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data import fingerprint, reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.decode import decode_mask, open_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.mask import IGNORE, MaskSource
from cnn_jax.data.readers.folder import TEST_SHARE
from cnn_jax.data.readers.image_files import SUFFIXES, images_in, subfolders
from cnn_jax.data.types import Record

CLASS_LIST = "classes.txt"  # in PATH, one name per line, in the order of the masks' values
MASK_SUFFIX = "annot"  # SegNet's CamVid: train/ and trainannot/


class Pair(NamedTuple):
    """The files of an example."""

    image: Path
    mask: Path


class PairRecords:
    """Images and masks on disk, in folders of `root`."""

    def __init__(self, root: Path, pairs: Sequence[Pair]):
        self.root = root
        self.pairs = list(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [self.pairs[i]._asdict() for i in indices]

    def describe(self, index: int) -> str:
        return str(self.pairs[index].image)

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, [pair.image for pair in self.pairs])
        yield from fingerprint.files(self.root, [pair.mask for pair in self.pairs])


def open_mask_folder(
    path: str, split: str, *, class_names: Sequence[str] = (), ignored: Sequence[int] = ()
) -> MaskSource:
    """Opens a folder of images and masks, which are paired by their names without suffix.

    The splits of PATH/train/, PATH/trainannot/ (and val, test, ...) have the names of the folders.
    PATH/images/, PATH/masks/ have 'all', and a fixed division of it into 'train' and 'test'.

    Args:
        path: PATH.
        split: a split expression.
        class_names: names in the order of the masks' values; if empty, the lines of
            PATH/classes.txt; without that file, all masks are read once to count the classes.
        ignored: mask values to ignore.

    Raises:
        DataError: there is no such folder or split; the folders are named otherwise; an image has
            no mask.
    """
    root = remote.here(f"masks:{path}", path)
    dataset = f"masks:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write masks:PATH")
    splits = _splits(root, dataset)
    pairs = split_lib.select(splits, split, dataset=dataset)
    names = tuple(class_names) or _class_list(root) or _counted_classes(splits, ignored, dataset)
    return MaskSource(
        name=root.resolve().name,
        split=split,
        records=PairRecords(root, pairs),
        class_names=names,
        image_shape=(*_common_size(pairs), 3),
        ignored=tuple(ignored),
    )


def _splits(root: Path, dataset: str) -> dict[str, list[Pair]]:
    folders = {name: root / name for name in subfolders(root)}
    divided = [name for name in folders if f"{name}{MASK_SUFFIX}" in folders]
    if divided:
        return {
            name: _pairs(folders[name], folders[f"{name}{MASK_SUFFIX}"], dataset)
            for name in divided
        }
    if {"images", "masks"} <= set(folders):
        pairs = _pairs(folders["images"], folders["masks"], dataset)
        pairs.sort(key=lambda pair: hashlib.blake2b(os.fsencode(pair.image.stem)).digest())
        test = round(TEST_SHARE * len(pairs))
        return {"all": pairs, "train": pairs[test:], "test": pairs[:test]}
    raise DataError(
        f"{dataset}: wanted the folders train/ and trainannot/ (val/, valannot/, ...) or images/ "
        f"and masks/; found {', '.join(folders) or 'no folder'} in {root}"
    )


def _pairs(images: Path, masks: Path, dataset: str) -> list[Pair]:
    """The images of a folder in the order of their names, each with its mask."""
    by_stem: dict[str, Path] = {}
    for file in images_in(masks):
        if (other := by_stem.setdefault(file.stem, file)) is not file:
            raise DataError(f"{dataset}: {other} and {file} are masks of one image: keep one")
    found = images_in(images)
    if not found:
        raise DataError(f"{dataset}: {images} holds no images ({', '.join(sorted(SUFFIXES))})")
    without = [f for f in found if f.stem not in by_stem]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise DataError(
            f"{dataset}: {without[0]}{more} has no mask: wanted {without[0].stem}.png in {masks}"
        )
    return [Pair(f, by_stem[f.stem]) for f in found]


def _class_list(root: Path) -> tuple[str, ...]:
    file = root / CLASS_LIST
    if not file.exists():
        return ()
    names = tuple(reading.read_lines(file))
    if not names or len({*names}) < len(names) or len(names) > IGNORE:
        raise DataError(f"{file} must have one class per line, each once, and at most {IGNORE}")
    return names


def _counted_classes(
    splits: Mapping[str, Sequence[Pair]], ignored: Sequence[int], dataset: str
) -> tuple[str, ...]:
    """As many classes as the largest value in any mask, ignored values aside."""
    largest = -1
    for mask in {pair.mask for pairs in splits.values() for pair in pairs}:
        try:
            values = np.unique(decode_mask(mask))
        except (ValueError, OSError) as error:
            raise DataError(f"{dataset}: {mask} cannot be read as a mask: {error}") from error
        largest = max([largest, *(int(v) for v in values if v not in (*ignored, IGNORE))])
    if largest < 0:
        raise DataError(f"{dataset}: every pixel of every mask is ignored; there are no classes")
    return tuple(f"class {i}" for i in range(largest + 1))


def _common_size(pairs: Sequence[Pair]) -> tuple[int | None, int | None]:
    """(height, width) by the headers if all images have the same, else (None, None)."""
    sizes = set()
    for pair in pairs:
        try:
            with open_image(pair.image) as image:
                sizes.add(image.size)
        except (ValueError, OSError):  # damaged: decoding it raises an error with its name
            continue
        if len(sizes) > 1:
            return None, None
    width, height = sizes.pop() if sizes else (None, None)
    return height, width
