"""A folder in Pascal VOC's form (`voc:PATH`).

    PATH/JPEGImages/000005.jpg
    PATH/Annotations/000005.xml     <annotation> <filename>, <size> <width> <height>, and for each
                                    <object> <name>, <difficult>, <bndbox> <xmin> <ymin> ...
    PATH/ImageSets/Main/train.txt   one name per line, without suffix
    PATH/classes.txt                one class per line; without it, the classes that occur, by name

Other places of the files are in `voc_files`; what <filename> says does not count.
Everingham et al. 2010, doi:10.1007/s11263-009-0275-4.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data import reading, remote
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names, voc_files
from cnn_jax.data.readers.box_records import BoxRecords, boxes_in_frames
from cnn_jax.data.readers.coco_format import LONGEST_SIDE
from cnn_jax.data.readers.folder_layout import check_spelling
from cnn_jax.data.types import Source

CLASS_LIST = "classes.txt"

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

    The lists of ImageSets/Main are the splits, or folders with the names of splits; without any
    there is 'all', and a fixed division of it into 'train' and 'test'. Difficult objects are
    crowds: they are not trained on, and detecting them is neither right nor wrong. VOC counts
    pixels from 1 and includes the last, so a box extends from xmin - 1 to xmax.

    Raises:
        DataError: there is no such folder or split; a file is not XML, or lacks something; an image
            has no annotations; classes.txt lacks a class.
    """
    root = remote.here(f"voc:{path}", path)
    dataset = f"voc:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write voc:PATH")
    pairs, splits = voc_files.find(root, dataset)
    chosen = split_names.select(splits, split, dataset=dataset)
    names = _class_names(root, pairs, dataset)
    label_of = {name: i for i, name in enumerate(names)}
    read = [_read(pairs[stem].annotation, dataset) for stem in chosen]
    images = [pairs[stem].image for stem in chosen]
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


def _class_names(root: Path, pairs: Mapping[str, voc_files.Pair], dataset: str) -> tuple[str, ...]:
    """The classes of classes.txt; else VOC's twenty if no others occur; else those that occur.

    All images are searched for classes, so that every split has the same labels.
    """
    file = root / CLASS_LIST
    if file.exists():
        names = tuple(reading.read_lines(file))
        if not names or len({*names}) < len(names):
            raise DataError(f"{dataset}: {file} must have one class per line, each once")
        return names
    occurring = {name for pair in pairs.values() for name in _read(pair.annotation, dataset).names}
    if not occurring:
        raise DataError(
            f"{dataset}: no object in any of {len(pairs)} annotations, such as "
            f"{next(iter(pairs.values())).annotation}; give {CLASS_LIST}"
        )
    check_spelling(sorted(occurring), dataset)
    return VOC_CLASSES if occurring <= {*VOC_CLASSES} else tuple(sorted(occurring))


def _read(file: Path, dataset: str) -> _Objects:
    tree = reading.read_xml(file)
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
    text = (element.findtext(path) or "0").strip().lower()
    if text not in ("0", "1", "", "false", "true", "unspecified"):
        raise ValueError(f"an object whose {path} is {text[:100]!r}, wanted 0 or 1")
    return text in ("1", "true")


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"an object without {path}")
    return text
