"""The files of a set in YOLO's form: descriptions, images, and the label file of each.

PATH/data.yaml                                           Ultralytics, Roboflow, CVAT
PATH/obj.data, PATH/obj.names, PATH/obj_train_data/      Darknet, CVAT
PATH/images/train/1.jpg, PATH/labels/train/1.txt         without a description; train2017 too
PATH/train/images/1.jpg, PATH/train/labels/1.txt
PATH/train/1.jpg, PATH/train/1.txt                       Roboflow's Darknet
PATH/images/1.jpg, PATH/labels/1.txt                     no splits
PATH/1.jpg, PATH/1.txt                                   LabelImg
"""

import hashlib
import logging
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data import reading
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import image_files, split_names, yolo_format
from cnn_jax.data.readers.named_files import NamedFiles

_log = logging.getLogger(__name__)

YAML = (".yaml", ".yml")
_IMAGE_FOLDERS = ("images", "JPEGImages")  # beside which `labels` is


class Found(NamedTuple):
    """Names of the classes; split -> folders or lists of its images; whether boxes are followed by
    key points."""

    class_names: tuple[str, ...]
    places: dict[str, list[Path]]
    keypoints: bool


def find(place: Path, wanted: Collection[str], dataset: str) -> Found:
    """What a folder, or a YAML file, describes.

    Args:
        place: the folder or the file.
        wanted: splits that must be there, if they are described.
        dataset: 'yolo:PATH', for messages.

    Raises:
        DataError: there is no such set, or it has no classes.
    """
    file = _description(place, dataset)
    if file is None:
        return Found(*_undescribed(place, dataset), False)
    if file.suffix == ".data":
        described = yolo_format.describe_darknet(file)
    else:
        described = yolo_format.describe(file)
    if described.keypoints:
        _log.warning("%s: the key points of its objects are left out, their boxes are read", file)
    places = _located(described, file, wanted, dataset)
    return Found(described.class_names, places, described.keypoints)


def images(places: Sequence[Path], root: Path, dataset: str) -> list[Path]:
    """The images of folders and lists, in an order that mixes them.

    Raises:
        DataError: there is none; a list names one that is not there; two would have the same
            labels.
    """
    found: dict[Path, None] = {}
    for place in places:
        listed = _listed(place, root) if os.path.isfile(place) else _walked(place)
        if not listed:
            suffixes = ", ".join(sorted(image_files.SUFFIXES))
            raise DataError(f"{dataset}: {place} holds no images ({suffixes})")
        found |= dict.fromkeys(listed)
    labels: dict[Path, Path] = {}
    for image in found:
        if (other := labels.setdefault(label_file(image), image)) != image:
            raise DataError(f"{dataset}: {other} and {image} would have the same labels: keep one")
    common = os.path.commonpath(places)
    return sorted(found, key=lambda image: _digest(os.path.relpath(image, common)))


def label_file(image: Path) -> Path:
    """The label file of an image: its folder `images` is `labels`; else it is beside the image."""
    *folders, name = image.parts
    beside = image.with_suffix(".txt")
    for i in reversed(range(len(folders))):
        if folders[i] in _IMAGE_FOLDERS:
            folders[i] = "labels"
            apart = Path(*folders, name).with_suffix(".txt")
            # a set may lie in a folder of that name, and its labels beside its images
            return beside if not os.path.exists(apart) and os.path.exists(beside) else apart
    return beside


def _description(place: Path, dataset: str) -> Path | None:
    """The file that describes a set; None if it has none."""
    if not os.path.isdir(place):
        if place.suffix.lower() not in (*YAML, ".data"):
            raise DataError(f"{dataset}: {place} is no YAML file; write yolo:FOLDER")
        return place
    files = sorted(f for f in place.iterdir() if not image_files.is_hidden(f.name))
    found = [file for file in files if file.suffix.lower() in YAML]
    found = found or [file for file in files if file.suffix == ".data"]
    usual = [file for file in found if file.stem in ("data", "dataset")]
    found = usual or found
    if len(found) > 1:
        several = " and ".join(file.name for file in found[:5])
        raise DataError(f"{dataset}: {several} may each describe it; write yolo:{found[0]}")
    return found[0] if found else None


def _located(
    described: yolo_format.Described, file: Path, wanted: Collection[str], dataset: str
) -> dict[str, list[Path]]:
    """Split -> the folders, or lists, of its images; splits that are not wanted may be missing."""
    base = file.parent / os.path.expanduser(described.base)
    if not os.path.isdir(base) and os.path.isdir(described.base):  # from where the run is started
        base = Path(described.base)
    if not os.path.isdir(base):  # of the machine on which it was written
        _log.warning("%s: there is no folder %s; paths are taken from %s", file, base, file.parent)
        base = file.parent
    located: dict[str, list[Path]] = {}
    for name, places in described.splits.items():
        for written in (place.replace("\\", "/") for place in places):
            there = _there(base, written)
            if there is not None:
                located.setdefault(name, []).append(there)
            elif name in wanted:
                raise DataError(
                    f"{dataset}: {file} names {written[:200]!r}, and there is no "
                    f"{os.path.normpath(base / written)}; correct the path in it, or put the "
                    "images there"
                )
    return located


def _there(base: Path, written: str) -> Path | None:
    """A path as it is written; else, of a list or an absolute one, without folders before it, which
    are another machine's: CVAT writes 'train.txt' as 'data/train.txt'. Roboflow writes
    'train/images' as '../train/images'."""
    most = _droppable(written)
    if not os.path.isabs(written) and not written.endswith(".txt"):
        most = int(written.startswith("../"))
    tries = (_without(base, written, dropped) for dropped in range(most + 1))
    return next((tried for tried in tries if os.path.exists(tried)), None)


def _droppable(written: str) -> int:
    """How many folders may be dropped at most: none that says the split, or is of the set."""
    parts = _parts(written)[:-1]
    return next((i for i, part in enumerate(parts) if _split(part)), len(parts))


def _parts(written: str) -> list[str]:
    return [part for part in written.split("/") if part not in ("", ".")]


def _without(base: Path, written: str, dropped: int) -> Path:
    """A path below `base` without so many of its first folders."""
    tail = "/".join(_parts(written)[dropped:]) if dropped else written
    return Path(os.path.normpath(base / tail))


def _undescribed(root: Path, dataset: str) -> tuple[tuple[str, ...], dict[str, list[Path]]]:
    """The classes, and split -> the folders of its images, for a set without a description."""
    found: dict[str, list[Path]] = {}
    tops = image_files.subfolders(root)
    apart = image_files.subfolders(root / "images") if "images" in tops else []
    candidates = [(name, root / "images" / name) for name in apart]
    candidates += [(name, root / name / "images") for name in tops]
    if not any(_split(name) and os.path.isdir(folder) for name, folder in candidates):
        candidates = [(n, root / n) for n in tops if _split(n) and _has_both(root / n)]
    for name, folder in candidates:
        split = _split(name)
        if split is None or not os.path.isdir(folder):
            continue
        if split in found:
            raise DataError(
                f"{dataset}: {found[split][0]} and {folder} are both {split!r}: keep one"
            )
        found[split] = [folder]
    if not found and "images" in tops:
        found = {"all": [root / "images"]}
    if not found and _has_both(root):
        found = {"all": [root]}
    names = _class_list(root, [place for places in found.values() for place in places], dataset)
    if not found:
        raise DataError(
            f"{dataset}: wanted data.yaml, or the folders images/train and labels/train, or "
            f"images and labels, in {root}"
        )
    return names, found


def _split(folder: str) -> str | None:
    """'train' for 'train', 'train2017' and CVAT's 'obj_train_data'."""
    plain = re.fullmatch(r"(?:obj_)?([A-Za-z]+)(?:[_-]?\d{1,4}|_data)?", folder)
    return split_names.canonical(plain[1]) if plain else None


def _has_both(folder: Path) -> bool:
    """Whether an image and its label file are beside each other in a folder or below it."""
    return any(os.path.isfile(image.with_suffix(".txt")) for image in _walked(folder))


def _class_list(root: Path, places: Sequence[Path], dataset: str) -> tuple[str, ...]:
    folders = [root, root / "labels", *places]  # labelImg writes it beside the labels
    for folder in folders:
        for name in yolo_format.CLASS_LISTS:
            if os.path.isfile(folder / name):
                return yolo_format.read_class_list(folder / name)
    raise DataError(
        f"{dataset}: wanted the names of the classes, one a line in {root / 'classes.txt'}, or in "
        "data.yaml"
    )


def _digest(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name.replace(os.sep, "/")), digest_size=16).digest()


def _walked(folder: Path) -> list[Path]:
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not image_files.is_hidden(name)]
        found += [Path(top, name) for name in names if image_files.is_image_name(name)]
    return found


def _listed(file: Path, root: Path) -> list[Path]:
    """The images that a text file lists, from its own folder, that of the set, or absolute.

    Folders before them that are not there are dropped, for all the same number: they are those of
    another machine, or the 'data/' of Darknet.
    """
    there = NamedFiles()
    text = reading.read_list(file, lambda text: _fits(text, file, root, there))
    lines = yolo_format.numbered(text)
    if not lines:
        return []
    way = _way(lines[0][1], file, root, there) or (file.parent, 0)
    if way[1]:
        _log.warning(
            "%s: there is no %s; paths are taken without their first %d folders",
            file, file.parent / lines[0][1], way[1],
        )  # fmt: skip
    found = []
    for number, line in lines:
        image = _image(line, *way, there)
        if image is None:
            raise DataError(
                f"{file}:{number}: there is no {_without(way[0], line, way[1])}; wanted paths from "
                "the folder of the list, or absolute ones"
            )
        found.append(image)
    return found


def _fits(text: str, file: Path, root: Path, there: NamedFiles) -> bool:
    lines = yolo_format.numbered(text)
    way = _way(lines[0][1], file, root, there) if lines else None
    return way is not None and all(_image(line, *way, there) for _, line in lines)


def _way(line: str, file: Path, root: Path, there: NamedFiles) -> tuple[Path, int] | None:
    """The folder from which an image is found, and how many folders before it are dropped."""
    for dropped in range(_droppable(line.replace("\\", "/")) + 1):
        for base in dict.fromkeys((file.parent, root)):
            if _image(line, base, dropped, there):
                return base, dropped
    return None


def _image(line: str, base: Path, dropped: int, there: NamedFiles) -> Path | None:
    for written in dict.fromkeys((line, line.replace("\\", "/"))):
        image = there.find(base, os.fspath(_without(base, written, dropped)))
        if image is not None and os.path.isfile(image):
            return image
    return None
