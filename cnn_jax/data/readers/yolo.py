"""Images and label files in YOLO's form (`yolo:PATH`).

PATH/data.yaml, or PATH = such a file       see `yolo_format`
PATH/images/train/1.jpg                     without one; other places are in `yolo_files`
PATH/labels/train/1.txt
PATH/classes.txt                            one class per line
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnn_jax.data import remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError, UnlabelledError
from cnn_jax.data.readers import split_names, yolo_files, yolo_format
from cnn_jax.data.readers.box_records import BoxRecords
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)


def open_yolo(path: str, split: str) -> Source:
    """Opens images and label files.

    An image without a label file has no objects. Polygons become the boxes around them. Images are
    upright, as the tools show them in which the boxes are drawn. Without splits there is 'all', and
    a fixed division of it into 'train' and 'test'.

    Raises:
        DataError: there is no such folder or split; a file is not in the format; no image has
            labels; no classes are named.
    """
    place = remote.here(f"yolo:{path}", path)
    dataset = f"yolo:{path}"
    if not path or not os.path.exists(place):
        raise DataError(f"{dataset}: there is no {place}; write yolo:FOLDER or yolo:FILE.yaml")
    root = place if os.path.isdir(place) else place.parent
    terms = [term.name for term in split_lib.parse(split, dataset=dataset)]
    wanted = {split_names.canonical(name) or name for name in terms}
    names, folders, keypoints = yolo_files.find(place, wanted, dataset)
    splits: dict[str, list[Path]] = {name: [] for name in folders}
    for name, places in folders.items():
        if name == "all" or name in wanted:
            splits[name] = yolo_files.images(places, root, dataset)
    _check_shared(splits, dataset)
    if "all" in splits:
        divided = split_names.stratified([(image, 0) for image in splits["all"]])
        splits = {name: [image for image, _ in some] for name, some in divided.items()}
    images = split_names.select(splits, split, dataset=dataset)
    return Source(
        name=root.resolve().name,
        split=split,
        records=BoxRecords(root, images, _annotations(images, len(names), keypoints, dataset)),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
    )


def _check_shared(splits: Mapping[str, Sequence[Path]], dataset: str) -> None:
    """Says which splits have images of the training split in them: small examples come so."""
    trained = set(splits.get("train", ()))
    for name, images in splits.items():
        if name != "train" and (shared := trained.intersection(images)):
            _log.warning(
                "%s: %d images are in 'train' and in %r, such as %s: a test on what was trained on "
                "says nothing", dataset, len(shared), name, min(shared),
            )  # fmt: skip


def _annotations(
    images: Sequence[Path], num_classes: int, keypoints: bool, dataset: str
) -> list[dict]:
    """'boxes', 'labels' and 'crowd' of each image."""
    counts: Counter[str] = Counter()
    read = []
    for image in images:
        file = yolo_files.label_file(image)
        counts["without"] += not os.path.exists(file)
        objects = (
            yolo_format.parse(file, num_classes, keypoints=keypoints)
            if os.path.exists(file)
            else None
        )
        boxes, labels, polygons, rotated, repeated = objects or yolo_format.NOTHING
        counts.update(polygons=polygons, rotated=rotated, repeated=repeated)
        read.append({"boxes": boxes, "labels": labels, "crowd": labels < 0})
    if images and counts["without"] == len(images):
        raise UnlabelledError(
            f"{dataset}: none of {len(images)} images has a label file: wanted "
            f"{yolo_files.label_file(images[0])} for {images[0]}"
        )
    for key, what in (
        ("without", "%s: %d images have no label file, and so no objects"),
        ("polygons", "%s: %d polygons became the boxes around them"),
        ("rotated", "%s: %d rotated boxes, of four corners each, became the upright ones around"),
        ("repeated", "%s: left out %d lines that repeat another in their file"),
    ):
        if counts[key]:
            _log.warning(what, dataset, counts[key])
    return read
