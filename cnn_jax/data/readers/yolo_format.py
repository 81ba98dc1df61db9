"""The text files of YOLO: what data.yaml says, and the boxes of an image.

    data.yaml      path: ../set          names: [cat, dog] or {0: cat, 1: dog}
                   train: images/train   val: [images/val]   folders or lists of images
    labels/1.txt   0 0.5 0.5 0.2 0.4     class, centre and size as fractions of the image's sides
                   1 0.1 0.1 0.9 0.1 0.5 0.8     class and corners of a polygon

The format is described at https://docs.ultralytics.com/datasets/detect.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from cnn_jax.data import reading
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names

CLASS_LISTS = (
    "classes.txt", "names.txt", "obj.names", "classes.names", "labels.txt", "_darknet.labels",
)  # fmt: skip
ROUNDING = 1e-4  # beyond 0..1, of fractions that are written with four digits


NOTHING_SAID = ("", "null", "~")


class _Texts(yaml.BaseLoader):
    """Loads YAML with every value as it is written: a class `no` is no False, `012` no ten.

    Nothing but texts, lists and dicts is made, whatever the tags in the file ask for.
    """

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
            raise yaml.YAMLError(f"{twice[0][:100]!r} is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


class Described(NamedTuple):
    """What data.yaml says.

    Attributes:
        base: folder that places are relative to, as it is written; '' for that of the file.
        splits: 'train', 'val' and 'test' -> places, as they are written.
        class_names: in the order of the labels.
        keypoints: whether a box is followed by key points.
    """

    base: str
    splits: dict[str, list[str]]
    class_names: tuple[str, ...]
    keypoints: bool


class Boxes(NamedTuple):
    """The objects of an image: boxes float [n, 4], (left, top, right, bottom) as fractions; labels
    int [n]; how many were polygons, and how many of those had four corners in a file of such
    alone; how many lines repeated another."""

    boxes: np.ndarray
    labels: np.ndarray
    polygons: int
    rotated: int
    repeated: int


NOTHING = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), 0, 0, 0)


def describe(file: Path) -> Described:
    """Reads data.yaml.

    Raises:
        DataError: it is not YAML, or lacks something; the message names it.
    """
    try:
        content = yaml.load(reading.read_text(file), Loader=_Texts)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is not YAML: {str(error)[:300]}; correct it") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: wanted 'train: FOLDER', 'val: FOLDER' and 'names: [...]' in it")
    base = content.get("path", "")
    if not isinstance(base, str):
        raise DataError(f"{file}: the path is {str(base)[:100]!r}, wanted a folder")
    splits: dict[str, list[str]] = {}
    for key, value in content.items():
        name = split_names.canonical(key)
        if name is None or value in NOTHING_SAID:
            continue
        places = [value] if isinstance(value, str) else value
        if not isinstance(places, list) or not all(isinstance(p, str) and p for p in places):
            raise DataError(f"{file}: {key} is {str(value)[:100]!r}, wanted a folder or several")
        if name in splits:
            raise DataError(f"{file}: {key} and another key are both {name!r}: remove one")
        splits[name] = places
    if not splits:
        raise DataError(f"{file} names no split: wanted train, val or test, each with a folder")
    return Described(base, splits, _names(content, file), "kpt_shape" in content)


def describe_darknet(file: Path) -> Described:
    """Reads obj.data of Darknet, as CVAT exports it: lines such as 'train = data/train.txt'.

    Raises:
        DataError: it names no split, or no list of the classes that is there.
    """
    entries = {
        key.strip(): value.strip()
        for line in reading.read_lines(file)
        for key, equals, value in [line.partition("=")]
        if equals
    }
    splits = {
        split: [entries[key]]
        for key in entries
        if (split := split_names.canonical(key)) and entries[key]
    }
    if not splits:
        raise DataError(f"{file} names no split: wanted 'train = train.txt'")
    names = file.parent / Path(entries.get("names", "obj.names").replace("\\", "/")).name
    return Described("", splits, read_class_list(names), False)


def read_class_list(file: Path) -> tuple[str, ...]:
    """The names of the classes, one a line."""
    return _distinct(reading.read_lines(file), file)


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a text file, stripped, without blank ones, and their numbers, from 1."""
    return numbered(reading.read_text(file))


def numbered(text: str) -> list[tuple[int, str]]:
    """The lines of a text, as `numbered_lines`."""
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def parse(file: Path, num_classes: int, *, keypoints: bool = False) -> Boxes:
    """Reads the labels of an image.

    Raises:
        DataError: a line has another number of numbers, one that is not a fraction, or an unknown
            class; the message names the file and the line.
    """
    rows: dict[tuple[float, ...], None] = {}
    polygons = quadrangles = repeated = 0
    for number, line in numbered_lines(file):
        words = line.split()
        place = f"{file}:{number}"
        label = _label(words[0], num_classes, place)
        fractions = _fractions(words[1:5] if keypoints else words[1:], place)
        if len(fractions) == 4:
            x, y, width, height = fractions
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        elif len(fractions) >= 6 and len(fractions) % 2 == 0:
            xs, ys = fractions[0::2], fractions[1::2]
            corners = (min(xs), min(ys), max(xs), max(ys))
            polygons += 1
            quadrangles += len(fractions) == 8
        else:
            hint = "; a confidence at the end has to go" if len(fractions) == 5 else ""
            raise DataError(
                f"{place}: {len(words)} numbers, wanted 5, the class and x, y, width and height of "
                f"the box, or the class and at least 3 corners of a polygon{hint}"
            )
        repeated += (label, *corners) in rows
        rows[(label, *corners)] = None
    values = np.array(list(rows), np.float64).reshape(-1, 5)
    rotated = quadrangles if quadrangles == polygons else 0
    return Boxes(
        values[:, 1:], values[:, 0].astype(np.int64), polygons - rotated, rotated, repeated
    )


def _label(word: str, num_classes: int, place: str) -> int:
    try:
        value = float(word)
        if not value.is_integer():
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{place}: the class is {word[:100]!r}, wanted its number, from 0"
        ) from error
    if not 0 <= value < num_classes:
        raise DataError(
            f"{place}: the class is {word[:100]}, and there are {num_classes}, from 0 to "
            f"{num_classes - 1}; mend the line, or add the name"
        )
    return int(value)


def _fractions(words: Sequence[str], place: str) -> list[float]:
    found = []
    for word in words:
        try:
            value = float(word)
        except ValueError as error:
            raise DataError(f"{place}: {word[:100]!r} is no number") from error
        if not -ROUNDING <= value <= 1 + ROUNDING:  # True for NaN
            raise DataError(
                f"{place}: {word[:100]} is not in 0..1: wanted fractions of the image's width and "
                "height; divide pixels by them"
            )
        found.append(min(max(value, 0.0), 1.0))
    return found


def _names(content: Mapping[Any, Any], file: Path) -> tuple[str, ...]:
    names, count = content.get("names", ""), content.get("nc", "")
    if isinstance(names, str) and names and (file.parent / names).is_file():
        return read_class_list(file.parent / names)
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            shown = ", ".join(list(names)[:10])
            raise DataError(f"{file}: the names are numbered {shown}: wanted 0, 1, 2, ... in it")
        names = [names[str(i)] for i in range(len(names))]
    counted = int(count) if isinstance(count, str) and re.fullmatch(r"[0-9]{1,5}", count) else None
    if names in NOTHING_SAID and counted:
        return tuple(f"class {i}" for i in range(counted))
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        raise DataError(f"{file}: wanted 'names: [cat, dog]', or each with its number, from 0")
    if count not in NOTHING_SAID and counted != len(names):
        raise DataError(f"{file}: nc is {str(count)[:20]} and there are {len(names)} names")
    return _distinct(names, file)


def _distinct(names: Sequence[str], file: Path) -> tuple[str, ...]:
    if not names:
        raise DataError(f"{file} names no class: wanted one name for each")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError(f"{file}: two classes have the name {twice[0][:100]!r}: rename one")
    return tuple(names)
