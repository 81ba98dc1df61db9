"""A folder of images: PATH/<class>/..., or PATH/<split>/<class>/... (`folder:PATH`)."""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import fingerprint, reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.types import Record, Source

_log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_SHARE = 0.2  # fraction of every class, if the folder itself has no splits


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
        return str(self.root / self.files[index])

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, self.files)
        yield fingerprint.array(np.array(self.labels, np.int64))


def open_folder(path: str, split: str) -> Source:
    """Opens a folder of images.

    The splits of PATH/<split>/<class>/... have the names of its sub-folders. PATH/<class>/... has
    'all', and a fixed stratified division of it into 'train' and 'test' (`TEST_SHARE` of every
    class). Classes are sorted by name. Records have a fixed order that mixes the classes, so that
    a slice such as 'train[:10%]' holds all of them.

    Raises:
        DataError: there is no such folder or split, or there are fewer than two classes.
    """
    root = remote.here(f"folder:{path}", path)
    dataset = f"folder:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write folder:PATH")
    top = _subfolders(root)
    inner = {name: _subfolders(root / name) for name in top}
    # a folder with images in it is a class, whatever else it holds
    divided = any(inner.values()) and not any(_holds_images(root / name) for name in top)
    classes = sorted({c for names in inner.values() for c in names}) if divided else top
    if len(classes) < 2:
        raise DataError(
            f"{dataset}: wanted one sub-folder of images per class, and at least two classes; "
            f"found {', '.join(classes) or 'none'} in {root}"
        )
    if divided:
        named = {term.name for term in split_lib.parse(split, dataset=dataset)}
        splits = {  # only the folders of the requested splits need walking
            name: _examples(root, Path(name), classes) if name in named else [] for name in top
        }
    else:
        splits = _divide(_examples(root, Path(), classes))
    examples = split_lib.select(splits, split, dataset=dataset)
    return Source(
        name=root.resolve().name,
        split=split,
        records=FolderRecords(root, examples),
        class_names=tuple(reading.text_of_name(name) for name in classes),
        image_shape=(None, None, 3),
        upright=True,
    )


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _holds_images(folder: Path) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in folder.iterdir())


def _examples(root: Path, part: Path, classes: list[str]) -> list[tuple[str, int]]:
    """(file, label) of every image, in an order that depends on the names alone."""
    found: list[tuple[str, int]] = []
    others = 0
    for label, name in enumerate(classes):
        files = _files(root / part / name, root)
        images = [f for f in files if f.suffix.lower() in SUFFIXES]
        others += len(files) - len(images)
        if not images:
            _log.warning("class folder %s holds no images", root / part / name)
        found += [(str(f.relative_to(root)), label) for f in images]
    if others:
        _log.warning("%s: left out %d files that are not images", root / part, others)
    return sorted(found, key=lambda example: _digest(example[0]))


def _files(folder: Path, root: Path) -> list[Path]:
    """All files in and below a folder, following links; no folder is entered twice, not even the
    root through a link that leads back up."""
    if not folder.is_dir():
        return []
    found, pending, again = [], [folder], 0
    try:
        entered = {_identity(root)}
        while pending:
            top = pending.pop()
            if (identity := _identity(top)) in entered:
                again += 1
                continue
            entered.add(identity)
            with os.scandir(top) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        pending.append(Path(entry.path))
                    elif not entry.name.startswith("."):
                        found.append(Path(entry.path))
    except OSError as error:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error
    if again:
        _log.warning("%s: left out %d links to folders that were already read", folder, again)
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it raises an error, if it is named as an image
        return False


def _digest(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(Path(name).as_posix()), digest_size=16).digest()


def _divide(examples: list[tuple[str, int]]) -> dict[str, list[tuple[str, int]]]:
    """'train' and 'test', with the same fraction of every class, the same on every machine."""
    sizes: dict[int, int] = {}
    for _, label in examples:
        sizes[label] = sizes.get(label, 0) + 1
    seen = dict.fromkeys(sizes, 0)
    divided: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for example in examples:
        label = example[1]
        divided["test" if seen[label] < round(TEST_SHARE * sizes[label]) else "train"] += [example]
        seen[label] += 1
    return {"all": examples, **divided}
