"""How a folder of images is to be read: which of its sub-folders are splits, and which classes.

    train/ant/1.png, test/ant/2.png     splits: a sub-folder has a split's name and classes in it
    ant/1.png, bee/2.png                classes
    ant/monday/1.png, bee/friday/2.png  classes, a level deeper

A split whose images lie in no class folder, such as the test set of a competition, has no labels.
"""

import dataclasses
import functools
import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnn_jax.data.errors import DataError, UnlabelledError
from cnn_jax.data.readers import imagenet, split_names
from cnn_jax.data.readers.image_files import holds_images, holds_images_below, some, subfolders

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The reading of a folder.

    Attributes:
        root: the folder.
        classes: names of the folders of the classes, sorted.
        splits: names of the folders of the splits; empty if the folder is not divided.
        listed: those of splits whose labels are in a file, see `imagenet`.
    """

    root: Path
    classes: tuple[str, ...]
    splits: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    def barred(self, name: str) -> frozenset[str]:
        """The real paths of the folders of all classes but one: no link of that one leads there."""
        return self._places - {os.path.realpath(part / name) for part in self._parts}

    @functools.cached_property
    def _places(self) -> frozenset[str]:
        """The real paths of the folders of all classes."""
        return frozenset(
            os.path.realpath(part / name) for part in self._parts for name in self.classes
        )

    @property
    def _parts(self) -> list[Path]:
        return [self.root / part for part in self.splits] or [self.root]


def read(root: Path, wanted: Sequence[str], dataset: str) -> Layout:
    """Decides how a folder is to be read.

    Args:
        root: the folder.
        wanted: names of the splits that are asked for.
        dataset: 'folder:PATH', for messages.

    Raises:
        DataError: it can be read in two ways, or in none; a split that is asked for has no labels.
    """
    top = _without_loops(root, dataset)
    inner = {name: _classes_in(root / name) for name in top}
    flat = [name for name in top if not inner[name] and holds_images(root / name)]
    mixed = [name for name in top if inner[name] and holds_images(root / name)]
    named = {name: split_names.canonical(name) for name in top}
    trained = [name for name in top if named[name] == "train" and len(inner[name]) > 1]
    several = {named[name] for name in top if named[name] and (inner[name] or name in flat)}
    if trained or (len(several) > 1 and any(named[name] for name in top if inner[name])):
        return _divided(root, inner, flat, mixed, wanted, dataset)
    loose = [name for name in flat if named[name]]
    if len({named[name] for name in loose}) > 1:
        raise DataError(
            f"{dataset}: {some(loose)} hold images, and no folders of classes: splits without "
            "labels. Make a folder for every class in them, or list files and labels in a CSV: "
            "csv:PATH"
        )
    if any(inner.values()) and not flat and not mixed:
        if any(named[name] for name in top if inner[name]) or {*wanted} & {*top}:
            return _divided(root, inner, flat, mixed, wanted, dataset)
        return _deeper(root, top, inner, dataset)
    return _flat(root, top, dataset)


def folder_of(split: str, folders: Sequence[str]) -> str | None:
    """The folder of a split: of its name, or the only one that means it, 'Test' or 'valid'."""
    if split in folders:
        return split
    meant = split_names.canonical(split)
    same = [name for name in folders if meant and split_names.canonical(name) == meant]
    return same[0] if len(same) == 1 else None


def _without_loops(root: Path, dataset: str) -> list[str]:
    """The sub-folders that count, without links to the folder itself or above it."""
    names, around = subfolders(root), os.path.join(os.path.realpath(root), "")
    loops = [
        name for name in names if around.startswith(os.path.join(os.path.realpath(root / name), ""))
    ]
    if loops:
        _log.warning("%s: left out %s, which leads back up", dataset, some(loops))
    return [name for name in names if name not in loops]


def _classes_in(folder: Path) -> list[str]:
    """The sub-folders of a folder, if any of them holds an image at any depth."""
    names = subfolders(folder)
    return names if any(holds_images_below(folder / name) for name in names) else []


def _divided(
    root: Path,
    inner: Mapping[str, list[str]],
    flat: Sequence[str],
    mixed: Sequence[str],
    wanted: Sequence[str],
    dataset: str,
) -> Layout:
    """Splits with classes; those with images alone have no labels."""
    alien = [name for name in flat if split_names.canonical(name) is None]
    if alien and len(inner) - len(flat) < 2 and len(flat) == len(alien):
        raise DataError(
            f"{dataset} can be read in two ways: train/ has the folders "
            f"{some(inner[_trained(inner)])}, as a split has, and {some(alien)} hold images, as "
            f"classes do. Write folder:{root / _trained(inner)}, or move what is no class away"
        )
    splits = [name for name in inner if inner[name]]
    unlabelled = list(flat)
    if train := _trained(inner):
        known = {*inner[train]}
        strangers = [s for s in splits if not known & {*inner[s]}]
        for name in strangers:  # 'test/unknown/1.png': what is in it is in no class of train
            folded = {_folded(one): one for one in known}
            if same := [one for one in inner[name] if _folded(one) in folded]:
                raise DataError(
                    f"{dataset}: the class {folded[_folded(same[0])]} of {train} is written "
                    f"{same[0]} in {name}: rename the folder"
                )
        unlabelled += strangers
        splits = [name for name in splits if name not in strangers]
    listed = [name for name in unlabelled if imagenet.has_labels(root, name)]
    unlabelled = [name for name in unlabelled if name not in listed]
    for name in mixed:
        _log.warning(
            "%s: left out the images in %s itself, which are in no folder of a class",
            dataset, root / name,
        )  # fmt: skip
    there = [*splits, *listed, *unlabelled]
    if asked := [name for name in wanted if folder_of(name, there) in unlabelled]:
        raise UnlabelledError(
            f"{dataset}: the images of {asked[0]!r} are in no folder of a class, and have no "
            f"labels: wanted a split with labels ({some(splits)}), or a part, such as 'train[90%:]'"
        )
    if unlabelled:
        _log.warning("%s: %s has no labels, and is left out", dataset, some(unlabelled))
    classes = sorted({one for name in splits for one in inner[name]})
    for name in splits:
        _check_links(root / name, inner[name], dataset)
    if train and (twins := _same(root, train, [name for name in splits if name != train])):
        _log.warning(
            "%s: %s leads to the images of %s: a test on what was trained on says nothing",
            dataset, some(twins), train,
        )  # fmt: skip
    _check_classes(classes, root, dataset)
    check_spelling(classes, dataset, across=any({*inner[s]} != {*classes} for s in splits))
    if train and (new := sorted({*classes} - {*inner[train]})):
        _log.warning(
            "%s: %d classes have no folder in %s, and cannot be learnt: %s",
            dataset, len(new), train, some(new),
        )  # fmt: skip
    return Layout(root, tuple(classes), tuple(splits), tuple(listed))


def _deeper(root: Path, top: Sequence[str], inner: Mapping[str, list[str]], dataset: str) -> Layout:
    """Classes whose images are a level deeper; or splits whose names nobody asked for."""
    below = [one for name in top for one in inner[name]]
    if len(top) == 1:
        raise DataError(
            f"{dataset}: wanted one sub-folder of images per class; found {top[0]} alone, with "
            f"{some(inner[top[0]])} in it: write folder:{root / top[0]}"
        )
    if len({*below}) < len(below):
        raise DataError(
            f"{dataset} can be read in two ways: as the classes {some(list(top))}, or as splits of "
            f"these names with the classes {some(sorted({*below}))}. Ask for a split of these, "
            f"such as {top[0]!r}; or rename the inner folders, so that no two have one name"
        )
    _log.warning(
        "%s: no sub-folder has the name of a split, and so %s are read as classes, with images a "
        "level deeper", dataset, some(list(top)),
    )  # fmt: skip
    return _flat(root, top, dataset)


def _flat(root: Path, top: Sequence[str], dataset: str) -> Layout:
    _check_classes(top, root, dataset)
    check_spelling(top, dataset)
    _check_links(root, top, dataset)
    if holds_images(root):
        _log.warning("%s: left out the images in %s itself, which have no class", dataset, root)
    return Layout(root, tuple(top))


def _trained(inner: Mapping[str, list[str]]) -> str:
    """The folder of the training split; '' if there is none with classes."""
    return next((n for n in inner if inner[n] and split_names.canonical(n) == "train"), "")


def _check_classes(classes: Sequence[str], root: Path, dataset: str) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{dataset}: wanted one sub-folder of images per class, and at least two classes; "
            f"found {', '.join(classes) or 'none'} in {root}"
        )


def check_spelling(classes: Sequence[str], dataset: str, *, across: bool = False) -> None:
    """Says which classes differ in case alone; an error if they are in different splits."""
    seen: dict[str, str] = {}
    for name in classes:
        if (other := seen.setdefault(_folded(name), name)) == name:
            continue
        if across:
            raise DataError(
                f"{dataset}: the folders of classes {other} and {name} differ in case alone: give "
                "them one name in all splits"
            )
        _log.warning("%s: %r and %r are two classes; if not, merge them", dataset, other, name)


def _check_links(folder: Path, classes: Sequence[str], dataset: str) -> None:
    """Refuses two classes that are one folder: each of its images would have both labels."""
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(os.path.realpath(os.path.join(folder, name)), name)
        if other != name:
            raise DataError(
                f"{dataset}: {folder / other} and {folder / name} are one folder, by a link: "
                "remove one"
            )


def _same(folder: Path, name: str, others: Sequence[str]) -> list[str]:
    """Which of these sub-folders are the same one as another, by a link."""
    if not any(os.path.islink(folder / one) for one in (name, *others)):
        return []
    target = os.path.realpath(folder / name)
    return [one for one in others if os.path.realpath(folder / one) == target]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
