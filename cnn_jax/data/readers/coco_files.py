"""The files of a set in COCO's form: which annotates which split, and where the images are.

PATH/annotations/instances_train2017.json, PATH/train2017/       COCO
PATH/annotations/instances_default.json, PATH/images/            CVAT
PATH/train/_annotations.coco.json, PATH/train/                   Roboflow
PATH/labels.json, PATH/data/; PATH/result.json, PATH/images/     FiftyOne; Label Studio
PATH = such a file
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names
from cnn_jax.data.readers.image_files import is_hidden, subfolders
from cnn_jax.data.readers.named_files import NamedFiles

EXPORTED = "_annotations.coco.json"  # in the folder of each split's images, as Roboflow exports
PREFIX = "instances_"  # prefix of the files with boxes; COCO also has captions and keypoints
_LOOKED_AT = 200_000  # files among which a missing one is looked for, for the error


def annotation_files(root: Path, dataset: str) -> dict[str, Path]:
    """Split -> its annotation file.

    Raises:
        DataError: there is none.
    """
    folder = root / "annotations"
    for place, name in ((folder, None), (root, EXPORTED)):
        found = _json_files(place)
        if name is not None:
            found = [file for file in found if file.name == name]
        if found:
            instances = [file for file in found if file.name.startswith(PREFIX)]
            return {file.stem.removeprefix(PREFIX): file for file in instances or found}
    exported = {name: root / name / EXPORTED for name in subfolders(root)}
    exported = {name: file for name, file in exported.items() if file.is_file()}
    if not exported:  # train/annotations.json, and what else it may be called
        each = {n: _json_files(root / n) for n in subfolders(root) if split_names.canonical(n)}
        exported = {name: files[0] for name, files in each.items() if len(files) == 1}
    if exported:
        return exported
    found = _json_files(root)
    if not found:
        raise DataError(
            f"{dataset}: wanted {folder}/{PREFIX}train.json, or train/{EXPORTED}; found no JSON "
            "there"
        )
    return {file.stem.removeprefix(PREFIX): file for file in found}


def is_undivided(files: Mapping[str, Path]) -> bool:
    """Whether there is one file, and its name is no split's: 'default', 'result'."""
    return len(files) == 1 and not any(_means(name) for name in files)


def named(name: str, files: Mapping[str, Path], split: str, dataset: str) -> str:
    """'train' -> 'train2017', if that is the only split that begins so; or 'annotations_train'.

    Raises:
        DataError: there is none, or several.
    """
    matching = [name] if name in files else [full for full in files if full.startswith(name)]
    meant = split_names.canonical(name)
    if not matching and meant:  # 'val' is 'valid' in Roboflow's exports
        matching = [full for full in files if split_names.canonical(full) == meant]
        matching = matching or [full for full in files if _means(full) == {meant}]
    if len(matching) != 1:
        raise split_lib.no_such_split(split, dataset, files)
    return matching[0]


def locate(
    names: Mapping[Any, str], root: Path, split: str, file: Path, dataset: str
) -> dict[Any, Path]:
    """The files of the images.

    Args:
        names: their names in the annotation file.
        root: folder of the set.
        split: name of the split, in whose folder they may be.
        file: the annotation file, in whose folder they may be.
        dataset: 'coco:PATH', for messages.

    Raises:
        DataError: an image is missing, or is there twice; the message names it.
    """
    folders = [root / split, root / "images" / split]
    for above in (root, root / "images"):  # annotations_train.json beside train/
        inner = subfolders(above) if above.is_dir() else []
        folders += [
            above / name for name in inner if _means(name) and _means(name) == _means(split)
        ]
    folders += [root / "images", root, root / "data"]
    if file.parent.name != "annotations":
        folders = [file.parent, file.parent / "images", *folders]
    folders = list(dict.fromkeys(folders))
    there = NamedFiles()
    located, missing = {}, []
    for key, written in names.items():
        found = _find(there, folders, written)
        if found is None and "\\" in written:  # written on Windows
            found = _find(there, folders, written.replace("\\", "/"))
        if found is None:
            missing.append(written)
        else:
            located[key] = found
    if missing:
        more = f" and {len(missing) - 1} more images" if len(missing) > 1 else ""
        hint = next(filter(None, (there.hint(one, missing[0]) for one in folders)), "")
        raise DataError(
            f"{dataset}: {missing[0][:200]}{more} of split {split!r} not found in "
            f"{', '.join(map(str, folders))}{hint or _elsewhere(root, missing[0])}"
        )
    again: dict[Path, str] = {}
    for key, image in located.items():
        if (other := again.setdefault(image, names[key])) is not names[key]:
            raise DataError(f"{dataset}: {other[:200]!r} and {names[key][:200]!r} are one image")
    return located


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.glob("*.json") if not f.is_dir() and not is_hidden(f.name))


def _means(name: str) -> set[str]:
    """The splits that the words of a name mean: 'instances_train2017' is {'train'}."""
    words = re.split(r"[^a-zA-Z]+", name)
    return {meant for word in words if (meant := split_names.canonical(word))}


def _find(there: NamedFiles, folders: Sequence[Path], name: str) -> Path | None:
    return next((file for one in folders if (file := there.find(one, name))), None)


def _elsewhere(root: Path, name: str) -> str:
    """A hint at a file of this name in any folder of the set."""
    base, seen = name.replace("\\", "/").rpartition("/")[2], 0
    for top, _, files in os.walk(root):
        seen += len(files)
        if base in files:
            return f"; there is {os.path.join(top, base)}: correct file_name, or move it"
        if seen > _LOOKED_AT:
            break
    return ""
