"""A folder in Pascal VOC's form (`voc:PATH`).

    PATH/JPEGImages/000005.jpg
    PATH/Annotations/000005.xml     <annotation> <filename>, <size> <width> <height>, and for each
                                    <object> <name>, <difficult>, <bndbox> <xmin> <ymin> ...
    PATH/ImageSets/Main/train.txt   one name per line, without suffix
    PATH/classes.txt                one class per line; without it, the classes that occur, by name

Everingham et al. 2010, doi:10.1007/s11263-009-0275-4.
"""

import hashlib
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data import reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers.box_records import BoxRecords, boxes_in_frames
from cnn_jax.data.readers.coco_format import LONGEST_SIDE
from cnn_jax.data.readers.folder_layout import check_spelling
from cnn_jax.data.readers.image_files import SUFFIXES, images_in, is_hidden, some
from cnn_jax.data.readers.split_names import TEST_SHARE
from cnn_jax.data.types import Source

CLASS_LIST = "classes.txt"
_MEMBERSHIP = re.compile(r"\S.*\s(-1|0|1)")  # a line that says whether an image has a class

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


class _Objects(NamedTuple):
    """What a file says: corners float [n, 4], (left, top, right, bottom) in pixels; the image's
    (width, height), if it is given; the name of each object's class; bool [n], the difficult ones.
    """

    corners: np.ndarray
    size: tuple[float, float] | None
    names: list[str]
    difficult: np.ndarray


def open_voc(path: str, split: str) -> Source:
    """Opens a folder in VOC's form.

    The lists of ImageSets/Main are the splits; without that folder there is 'all', and a fixed
    division of it into 'train' and 'test'. Difficult objects are crowds: they are not trained on,
    and detecting them is neither right nor wrong. VOC counts pixels from 1 and includes the last,
    so a box extends from xmin - 1 to xmax.

    Raises:
        DataError: there is no such folder or split; a file is not XML, or lacks something; an image
            has no annotations; classes.txt lacks a class.
    """
    root = remote.here(f"voc:{path}", path)
    dataset = f"voc:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write voc:PATH")
    files = _image_files(root, dataset)
    chosen = split_lib.select(_splits(root, files, dataset), split, dataset=dataset)
    annotations = root / "Annotations"
    names = _class_names(root, annotations, files, dataset)
    label_of = {name: i for i, name in enumerate(names)}
    read = [_read(annotations / f"{stem}.xml", files[stem], dataset) for stem in chosen]
    images = [files[stem] for stem in chosen]
    placed = boxes_in_frames(
        images, [one.corners for one in read], [one.size for one in read], dataset
    )
    return Source(
        name=root.resolve().name,
        split=split,
        records=BoxRecords(
            root,
            images,
            [
                {
                    **own,
                    "labels": np.array([label_of.get(name, -1) for name in one.names], np.int64),
                    "crowd": one.difficult,
                }
                for own, one in zip(placed, read, strict=True)
            ],
        ),
        class_names=names,
        image_shape=(None, None, 3),
    )


def _image_files(root: Path, dataset: str) -> dict[str, Path]:
    """Name without suffix -> file, of all images."""
    images, annotations = root / "JPEGImages", root / "Annotations"
    for folder in (images, annotations):
        if not folder.is_dir():
            raise DataError(
                f"{dataset}: wanted the folders JPEGImages and Annotations; no {folder}"
            )
    files = images_in(images)
    if not files:
        raise DataError(f"{dataset}: {images} holds no images ({', '.join(sorted(SUFFIXES))})")
    by_stem: dict[str, Path] = {}
    for file in files:
        if (other := by_stem.setdefault(file.stem, file)) is not file:
            raise DataError(
                f"{dataset}: {other} and {file} would have the same annotations: keep one"
            )
    return by_stem


def _splits(root: Path, files: Mapping[str, Path], dataset: str) -> dict[str, list[str]]:
    lists = root / "ImageSets" / "Main"
    if not lists.is_dir():
        stems = sorted(files, key=lambda stem: hashlib.blake2b(os.fsencode(stem)).digest())
        test = round(TEST_SHARE * len(stems))
        return {"all": stems, "train": stems[test:], "test": stems[:test]}
    splits = {}
    for file in sorted(file for file in lists.glob("*.txt") if not is_hidden(file.name)):
        lines = reading.read_lines(file)
        stems = [stem for line in lines if (stem := _stem(line, files)) is not None]
        if len(stems) < len(lines) and all(_MEMBERSHIP.fullmatch(line) for line in lines):
            continue  # 'cat_train.txt' says for each image whether it has a cat
        if len(stems) < len(lines):
            lacking = [line for line in lines if _stem(line, files) is None]
            raise DataError(
                f"{dataset}: {file} lists {some(lacking)[:300]}, which {root}/JPEGImages lacks"
            )
        if len({*stems}) < len(stems):
            twice = [stem for stem, n in Counter(stems).items() if n > 1]
            raise DataError(f"{dataset}: {file} lists {some(twice)[:300]} twice: keep one line")
        splits[file.stem] = stems
    if not splits:
        raise DataError(f"{dataset}: {lists} holds no list of images, such as train.txt")
    return splits


def _stem(line: str, files: Mapping[str, Path]) -> str | None:
    """The name without suffix of the image in a line of a list; None if there is no such image."""
    if line in files:
        return line
    stem, suffix = os.path.splitext(line)
    return stem if stem in files and suffix.lower() in SUFFIXES else None


def _class_names(
    root: Path, annotations: Path, files: Mapping[str, Path], dataset: str
) -> tuple[str, ...]:
    """The classes of classes.txt; else VOC's twenty if no others occur; else those that occur.

    All images are searched for classes, so that every split has the same labels.
    """
    file = root / CLASS_LIST
    if file.exists():
        names = tuple(reading.read_lines(file))
        if not names or len({*names}) < len(names):
            raise DataError(f"{dataset}: {file} must have one class per line, each once")
        return names
    occurring = {
        name
        for stem, image in files.items()
        for name in _read(annotations / f"{stem}.xml", image, dataset).names
    }
    if not occurring:
        raise DataError(f"{dataset}: no object in any of {annotations}; give {CLASS_LIST}")
    check_spelling(sorted(occurring), dataset)
    return VOC_CLASSES if occurring <= {*VOC_CLASSES} else tuple(sorted(occurring))


def _read(file: Path, image: Path, dataset: str) -> _Objects:
    try:
        if not file.exists():
            raise DataError(f"{dataset}: {image} has no annotations: wanted {file}")
        tree = ElementTree.fromstring(reading.read_bytes(file))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{dataset}: {file} cannot be read: {error}") from error
    objects = tree.findall("object")
    sides = [tree.findtext(f"size/{side}") for side in ("width", "height")]
    try:
        width, height = (float(side or 0) for side in sides)
        known = all(1 <= side < LONGEST_SIDE for side in (width, height))
        corners = [
            [float(_text(one, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            for one in objects
        ]
        labels = [_text(one, "name").strip() for one in objects]
        if "" in labels:
            raise ValueError("an object whose name is empty")
        difficult = [_flag(one, "difficult") for one in objects]
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{dataset}: {file} is not in VOC's format: {error}") from error
    boxes = np.array(corners, np.float64).reshape(-1, 4) - [1, 1, 0, 0]
    # some tools omit the size, or write 0
    return _Objects(boxes, (width, height) if known else None, labels, np.array(difficult, bool))


def _flag(element: ElementTree.Element, path: str) -> bool:
    text = (element.findtext(path) or "0").strip()
    if text not in ("0", "1", ""):
        raise ValueError(f"an object whose {path} is {text[:100]!r}, wanted 0 or 1")
    return text == "1"


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"an object without {path}")
    return text
