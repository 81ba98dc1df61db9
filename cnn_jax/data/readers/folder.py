"""A folder of images: PATH/<class>/..., or PATH/<split>/<class>/... (`folder:PATH`)."""

import functools
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import fingerprint, reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import (
    folder_index,
    folder_layout,
    folder_walk,
    image_files,
    imagenet,
    split_names,
)
from cnn_jax.data.types import Record, Source

_log = logging.getLogger(__name__)


class FolderRecords:
    """Images on disk and their labels; `files` are relative to `root`."""

    def __init__(self, root: Path, examples: list[tuple[str, int]]):
        self.root = root
        self.files = [file for file, _ in examples]
        self.labels = [label for _, label in examples]

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [{"image": self.root / self.files[i], "label": self.labels[i]} for i in indices]

    def describe(self, index: int) -> str:
        return reading.text_of_name(str(self.root / self.files[index]))

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, self.files)
        yield fingerprint.array(np.array(self.labels, np.int64))


def open_folder(path: str, split: str) -> Source:
    """Opens a folder of images.

    The splits of PATH/<split>/<class>/... have the names of its sub-folders. PATH/<class>/... has
    'all', and a fixed division of it into 'train' and 'test' (`split_names.TEST_SHARE` of every
    class); which of the two it is, `folder_layout` says. Classes are sorted by name. Records have a
    fixed order that mixes the classes, so that a slice such as 'train[:10%]' holds all of them.

    Raises:
        DataError: there is no such folder or split; the split has no labels; the folder can be read
            in two ways; there are fewer than two classes.
    """
    root = remote.here(f"folder:{path}", path)
    dataset = f"folder:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write folder:PATH")
    title, root = root.resolve().name, imagenet.folder_of_splits(root)
    named = [term.name for term in split_lib.parse(split, dataset=dataset)]
    layout = folder_layout.read(root, named, dataset)
    left_out: dict[str, list[str]] = {}
    classes = layout.classes
    if layout.splits:
        folders = (*layout.splits, *layout.listed)
        folder_of = {name: folder_layout.folder_of(name, folders) for name in named}
        taken = folder_of.values()
        splits: dict[str, list[tuple[str, int]]]
        splits = {name: [] for name in folders if name not in taken}
        for name, folder in folder_of.items():  # only their folders need walking
            if folder in layout.listed:
                listed = imagenet.examples(root, folder, classes, dataset)
                splits[name] = sorted(listed, key=lambda example: _digest(example[0]))
            elif folder is not None:
                listing = _examples(root, Path(folder), classes, layout)
                splits[name] = listing.examples
                left_out |= listing.left_out
    else:
        listing = _examples(root, Path(), classes, layout)
        splits = split_names.stratified(listing.examples)
        left_out = listing.left_out
    examples = split_lib.select(splits, split, dataset=dataset)
    names = imagenet.class_names(root, classes) or tuple(map(reading.text_of_name, classes))
    if len(set(names)) < len(names):  # the bytes differ, of which one is not UTF-8
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        raise DataError(f"{dataset}: two folders of classes have the name {twice[0]}: rename one")
    return Source(
        name=title,
        split=split,
        records=FolderRecords(root, examples),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
        left_out=left_out,
    )


def _examples(
    root: Path, part: Path, classes: Sequence[str], layout: folder_layout.Layout
) -> folder_index.Listing:
    """Every image and its label, in an order that depends on the names alone."""
    place = folder_index.place_of(root, part, classes)
    listing = place.read() if place else None
    if listing is None:
        listing = _walked(root, part, classes, layout)
        if place:
            place.write(listing)
    for text in listing.said:
        _log.warning("%s", text)
    return listing


def _walked(
    root: Path, part: Path, classes: Sequence[str], layout: folder_layout.Layout
) -> folder_index.Listing:
    """Reads the folders of all classes."""
    began = time.time_ns()
    walk = folder_walk.Walk(root)
    walk.folders[os.path.join(root, part)] = os.stat(root / part).st_mtime_ns  # for new classes
    examples: list[tuple[str, int]] = []
    others: list[str] = []
    inside = os.path.join(root, "")
    for label, name in enumerate(classes):
        barred = functools.cache(functools.partial(layout.barred, name))
        found = walk.files(os.path.join(root, part, name), barred)
        images = [file for file in found if image_files.is_image(file)]
        if len(images) < len(found):
            others += sorted({*found} - {*images})
        if not images:
            walk.said.append(f"class folder {root / part / name} holds no images")
        examples += [(_within(file, inside), label) for file in images]
    if others:
        kinds = Counter(os.path.splitext(file)[1].lower() or "no suffix" for file in others)
        shown = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds)[:5])
        walk.left_out["not an image"] = others
        walk.said.append(
            f"{root / part}: left out {len(others)} files that are not images: {shown}"
        )
    return folder_index.Listing(
        examples=_in_order(examples),
        said=walk.said,
        left_out=walk.left_out,
        folders=walk.folders,
        began=began,
    )


def _in_order(examples: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The examples by a hash of their names, 16 bytes; as two numbers these sort faster."""
    digests = b"".join(_digest(name) for name, _ in examples)
    first, second = np.frombuffer(digests, ">u8").reshape(-1, 2).T.astype(np.uint64)
    return [examples[i] for i in np.lexsort((second, first)).tolist()]


def _within(file: str, inside: str) -> str:
    """A file's path from the folder `inside`, which ends with '/'; relpath alone is slow."""
    return file.removeprefix(inside) if file.startswith(inside) else os.path.relpath(file, inside)


def _digest(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name.replace(os.sep, "/")), digest_size=16).digest()
