"""A folder in COCO's form (`coco:PATH`).

    PATH/annotations/instances_train2017.json     {'images': [{'id', 'file_name', 'width',
    PATH/train2017/000000000009.jpg                'height'}], 'annotations': [{'image_id',
                                                   'category_id', 'bbox': [x, y, width, height],
                                                   'iscrowd'}], 'categories': [{'id', 'name'}]}

    PATH/train/_annotations.coco.json             the same, beside the images, as Roboflow exports

The splits have the names of the files, or of the folders: 'train2017', or 'train' if only one
begins so. Lin et al. 2014, arXiv:1405.0312; the format: https://cocodataset.org/#format-data.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import coco_format, split_names
from cnn_jax.data.readers.box_records import BoxRecords, boxes_in_frames
from cnn_jax.data.readers.folder_layout import check_spelling
from cnn_jax.data.readers.image_files import is_hidden, subfolders
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

EXPORTED = "_annotations.coco.json"  # in the folder of each split's images, as Roboflow exports
PREFIX = "instances_"  # prefix of the files with boxes; COCO also has captions and keypoints


def open_coco(path: str, split: str) -> Source:
    """Opens a folder in COCO's form.

    Images without an object are part of the set. Labels number the categories in the order of their
    ids, which have gaps in COCO itself. An annotation of an unknown category gets the label -1,
    which `cnn_jax.data.loaders.boxes.tidy` leaves out and counts.

    Raises:
        DataError: there is no such folder or split; a file is not JSON, or lacks something; an
            image is missing.
    """
    root = remote.here(f"coco:{path}", path)
    dataset = f"coco:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write coco:PATH")
    files = _annotation_files(root, dataset)
    wanted = {
        term.name: _named(term.name, files, split, dataset)
        for term in split_lib.parse(split, dataset=dataset)
    }
    read: dict[str, list[tuple[Path, dict]]] = {}
    class_names: tuple[str, ...] | None = None
    for name, full in wanted.items():
        categories, read[name] = _read(files[full], root, full, dataset)
        if class_names not in (None, categories):
            raise DataError(f"{dataset}: the splits of {split!r} differ in their categories")
        class_names = categories
    assert class_names is not None  # an expression has a term
    chosen = split_lib.select(read, split, dataset=dataset)
    located = [file for file, _ in chosen]
    placed = boxes_in_frames(
        located,
        [held["corners"] for _, held in chosen],
        [held["size"] for _, held in chosen],
        dataset,
    )
    annotations = [
        {**own, "labels": held["labels"], "crowd": held["crowd"]}
        for own, (_, held) in zip(placed, chosen, strict=True)
    ]
    return Source(
        name=root.resolve().name,
        split=split,
        records=BoxRecords(root, located, annotations),
        class_names=class_names,
        image_shape=(None, None, 3),
    )


def _annotation_files(root: Path, dataset: str) -> dict[str, Path]:
    """Split -> its annotation file."""
    folder = root / "annotations"
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = [file for file in found if not is_hidden(file.name)]
    instances = [file for file in found if file.name.startswith(PREFIX)]
    if not found:
        exported = {name: root / name / EXPORTED for name in subfolders(root)}
        exported = {name: file for name, file in exported.items() if file.is_file()}
        if exported:
            return exported
        raise DataError(
            f"{dataset}: wanted {folder}/{PREFIX}train.json, or train/{EXPORTED}; found no JSON "
            "there"
        )
    return {file.stem.removeprefix(PREFIX): file for file in instances or found}


def _named(name: str, files: Mapping[str, Path], split: str, dataset: str) -> str:
    """'train' -> 'train2017', if that is the only split that begins so."""
    matching = [name] if name in files else [full for full in files if full.startswith(name)]
    if not matching:  # 'val' is 'valid' in Roboflow's exports
        meant = split_names.canonical(name)
        matching = [full for full in files if meant and split_names.canonical(full) == meant]
    if len(matching) != 1:
        raise split_lib.no_such_split(split, dataset, files)
    return matching[0]


def _read(
    file: Path, root: Path, split: str, dataset: str
) -> tuple[tuple[str, ...], list[tuple[Path, dict]]]:
    """The names of the categories, and the file and annotations of each image."""
    try:
        content = coco_format.parse(reading.read_json(file))
    except ValueError as error:
        raise DataError(f"{dataset}: {file} is not in COCO's format: {error}") from error
    images = content.images
    names = {key: image.name for key, image in images.items()}
    outside = [name for name in names.values() if not reading.is_inside(name)]
    if outside:
        raise DataError(
            f"{dataset}: {file} names {outside[0][:200]!r}, which is not below {root}: file_name "
            "must be a path relative to the folder of the images"
        )
    for count, what in (
        (content.strays, "left out %d annotations of images it does not list"),
        (content.without, "left out %d annotations that have neither a bbox nor a polygon"),
        (content.polygons, "%d annotations have no bbox, and got the one around their polygons"),
        (content.repeated, "%d annotations repeat another of their image: remove them"),
    ):
        if count:
            _log.warning(f"%s: {what}", file, count)
    check_spelling(content.class_names, dataset)
    located = _locate(names, root, split, dataset)
    return content.class_names, [
        (located[key], _annotations(image.boxes, image.width, image.height))
        for key, image in images.items()
    ]


def _annotations(rows: Sequence[coco_format.Box], width: float, height: float) -> dict[str, Any]:
    corners = np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return {
        "corners": corners,
        "size": (width, height),
        "labels": np.array([label for _, label, _ in rows], np.int64),
        "crowd": np.array([crowd for _, _, crowd in rows], bool),
    }


def _locate(names: Mapping[Any, str], root: Path, split: str, dataset: str) -> dict[Any, Path]:
    """The files of the images, in PATH/<split>, PATH/images/<split>, PATH/images or PATH."""
    folders = [root / split, root / "images" / split, root / "images", root]
    there = {folder: _contents(folder) for folder in folders}
    located, missing = {}, []
    for key, written in names.items():
        name = written
        holding = [folder for folder in folders if _holds(folder, name, there)]
        if not holding and "\\" in name:  # written on Windows
            name = name.replace("\\", "/")
            holding = [folder for folder in folders if _holds(folder, name, there)]
        if holding:
            located[key] = holding[0] / name
        else:
            missing.append(written)
    if missing:
        more = f" and {len(missing) - 1} more images" if len(missing) > 1 else ""
        raise DataError(
            f"{dataset}: {missing[0][:200]}{more} of split {split!r} not found in "
            f"{', '.join(map(str, folders))}"
        )
    again: dict[Path, str] = {}
    for key, file in located.items():
        if (other := again.setdefault(file, names[key])) is not names[key]:
            raise DataError(f"{dataset}: {other[:200]!r} and {names[key][:200]!r} are one image")
    return located


def _contents(folder: Path) -> set[str]:
    """The names in a folder, read once: checking each of 118,000 files would take minutes."""
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _holds(folder: Path, name: str, there: Mapping[Path, set[str]]) -> bool:
    return name in there[folder] if "/" not in name else (folder / name).is_file()
