"""A folder in COCO's form (`coco:PATH`).

    PATH/annotations/instances_train2017.json     {'images': [{'id', 'file_name', 'width',
    PATH/train2017/000000000009.jpg                'height'}], 'annotations': [{'image_id',
                                                   'category_id', 'bbox': [x, y, width, height],
                                                   'iscrowd'}], 'categories': [{'id', 'name'}]}

The splits have the names of the files: 'train2017', or 'train' if only one begins so; other places
of the files are in `coco_files`. Lin et al. 2014, arXiv:1405.0312; the format:
https://cocodataset.org/#format-data.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import coco_files, coco_format, split_names
from cnn_jax.data.readers.box_records import BoxRecords, boxes_in_frames
from cnn_jax.data.readers.folder_layout import check_spelling
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)


def open_coco(path: str, split: str) -> Source:
    """Opens a folder in COCO's form.

    A single file whose name is no split's ('default') has 'all', and a fixed division of it into
    'train' and 'test'. Images without an object are part of the set. Labels number the categories
    in the order of their ids, which have gaps in COCO itself. An annotation of an unknown category
    gets the label -1, which `cnn_jax.data.loaders.boxes.tidy` leaves out and counts.

    Raises:
        DataError: there is no such folder or split; a file is not JSON, or lacks something; an
            image is missing.
    """
    place = remote.here(f"coco:{path}", path)
    dataset = f"coco:{path}"
    if path and place.is_file():
        root = place.parent.parent if place.parent.name == "annotations" else place.parent
        files = {place.stem.removeprefix(coco_files.PREFIX): place}
    elif path and place.is_dir():
        root, files = place, coco_files.annotation_files(place, dataset)
    else:
        raise DataError(f"{dataset}: there is no folder {place}; write coco:PATH")
    terms = {term.name for term in split_lib.parse(split, dataset=dataset)}
    undivided = coco_files.is_undivided(files) and not terms & {*files}
    wanted = (
        dict.fromkeys(("all", "train", "test"), next(iter(files)))
        if undivided
        else {name: coco_files.named(name, files, split, dataset) for name in terms}
    )
    read: dict[str, list[tuple[Path, dict]]] = {}
    class_names: tuple[str, ...] | None = None
    for full in sorted({*wanted.values()}):
        categories, read[full] = _read(files[full], root, full, dataset)
        if class_names not in (None, categories):
            raise DataError(f"{dataset}: the splits of {split!r} differ in their categories")
        class_names = categories
    assert class_names is not None  # an expression has a term
    splits = {name: read[full] for name, full in wanted.items()}
    if undivided:
        mixed = sorted(splits["all"], key=lambda one: _digest(one[0], root))
        divided = split_names.stratified([(one, 0) for one in mixed])
        splits = {name: [one for one, _ in some] for name, some in divided.items()}
    chosen = split_lib.select(splits, split, dataset=dataset)
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
    located = coco_files.locate(names, root, split, file, dataset)
    return content.class_names, [
        (located[key], _annotations(image.boxes, image.size)) for key, image in images.items()
    ]


def _digest(image: Path, root: Path) -> bytes:
    """An order of images that depends on their names in the set alone."""
    name = os.path.relpath(image, root).replace(os.sep, "/")
    return hashlib.blake2b(os.fsencode(name), digest_size=16).digest()


def _annotations(
    rows: Sequence[coco_format.Box], size: tuple[float, float] | None
) -> dict[str, Any]:
    corners = np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return {
        "corners": corners,
        "size": size,
        "labels": np.array([label for _, label, _ in rows], np.int64),
        "crowd": np.array([crowd for _, _, crowd in rows], bool),
    }
