"""A folder of images: PATH/<class>/..., or PATH/<split>/<class>/... (`folder:PATH`)."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import fingerprint, reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import folder_layout, image_files, imagenet, split_names
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
                splits[name] = _examples(root, Path(folder), classes, layout)
    else:
        splits = split_names.stratified(_examples(root, Path(), classes, layout))
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
    )


def _examples(
    root: Path, part: Path, classes: Sequence[str], layout: folder_layout.Layout
) -> list[tuple[str, int]]:
    """(file, label) of every image, in an order that depends on the names alone."""
    found: list[tuple[str, int]] = []
    others: Counter[str] = Counter()
    inside = os.path.join(root, "")
    for label, name in enumerate(classes):
        images = []
        for file in _files(root / part / name, root, layout.barred(name)):
            if image_files.is_image(file):
                images.append(file)
            else:
                others[os.path.splitext(file)[1].lower() or "no suffix"] += 1
        if not images:
            _log.warning("class folder %s holds no images", root / part / name)
        found += [(_within(file, inside), label) for file in images]
    if others:
        _log.warning(
            "%s: left out %d files that are not images: %s",
            root / part, others.total(), ", ".join(f"{others[s]} {s}" for s in sorted(others)[:5]),
        )  # fmt: skip
    return sorted(found, key=lambda example: _digest(example[0]))


def _files(folder: Path, root: Path, barred: frozenset[str]) -> list[str]:
    """All files in and below a folder, following links, each once.

    No folder is entered twice, not even the root through a link that leads back up, and none of
    `barred` or above it through a link: it holds the images of other classes.
    """
    if not folder.is_dir():
        return []
    found, pending = [], [os.fspath(folder)]
    again, alien, dangling = 0, [], []
    own = os.path.realpath(folder)
    linked: set[str] = set()  # targets of links to files
    try:
        entered = {_identity(root)}
        while pending:
            top = pending.pop()
            if (identity := _identity(top)) in entered:
                again += 1
                continue
            entered.add(identity)
            for entry in image_files.scan(top):
                if image_files.is_hidden(entry.name):
                    continue
                is_folder = image_files.is_folder(entry)
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if not os.path.exists(target):
                        dangling.append(entry.path)
                        continue
                    if _leads_into(target, barred, is_folder):
                        alien.append(entry.path)
                        continue
                    if not is_folder:
                        if target in linked or target.startswith(own + os.sep):
                            again += 1
                            continue
                        linked.add(target)
                if is_folder:
                    pending.append(entry.path)
                else:
                    found.append(entry.path)
    except OSError as error:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error
    if again:
        _log.warning("%s: left out %d links to what was already read", folder, again)
    for links, what in ((alien, "to images of other classes"), (dangling, "to nothing")):
        if links:
            shown = image_files.some(sorted(links))
            _log.warning("%s: left out %d links %s: %s", folder, len(links), what, shown)
    return found


def _within(file: str, inside: str) -> str:
    """A file's path from the folder `inside`, which ends with '/'; relpath alone is slow."""
    return file.removeprefix(inside) if file.startswith(inside) else os.path.relpath(file, inside)


def _leads_into(target: str, barred: frozenset[str], is_folder: bool) -> bool:
    """Whether a target is one of the folders `barred`, is in one, or is a folder around one."""
    above = target
    while above not in barred and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    return above in barred or (
        is_folder and any(one.startswith(os.path.join(target, "")) for one in barred)
    )


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _digest(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(Path(name).as_posix()), digest_size=16).digest()
