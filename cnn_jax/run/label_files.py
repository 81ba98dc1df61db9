"""Files that say which classes images have, or which classes those of a data set are.

ImageNet's offspring come with such files, in several forms:
- labels of images: ReaL's real.json (a list of the classes of each image of the validation set,
  in the order of its numbers); JSON {file: class} or {file: [classes]}; lines of `file class`; CSV
  of file and class, as ILSVRC's LOC_val_solution.csv;
- classes of a data set: JSON {name: class}; Keras's {"0": ["n01440764", "tench"]}; a list of one
  class for each, in the order of their sorted names, as JSON or one a line;
- subsets of a network's classes: JSON {"6": 0, "7": -1}, their places among the data's, as
  ImageNet-A has it; or a list of true and false for each, as ImageNet-R has it.
A class is given by its number, its name or its WordNet id.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data import reading
from cnn_jax.run.class_names import ClassMap, Known, check_once
from cnn_jax.stores import local_path

_HEADINGS = ("imageid", "image", "file", "filename", "name", "path", "class", "id", "wnid")
_NUMBERED = re.compile(r"(?:^|_)(\d{8})$")  # ILSVRC2012_val_00000001


class Labels(NamedTuple):
    """What a file says about a data set.

    Attributes:
        classes: the classes of the data, if it says these.
        images: the classes of each image, if it says those; () for none.
    """

    classes: ClassMap | None = None
    images: list[tuple[int, ...]] | None = None


def read(
    path: str | Path, *, network: Sequence[str], data: Sequence[str], images: Sequence[str]
) -> Labels:
    """Reads such a file.

    Args:
        path: a .json, .csv or .txt file.
        network: names of the network's classes.
        data: names of the data set's classes.
        images: names of the files of its images.

    Raises:
        ValueError: it cannot be read, has none of these forms, or leaves a class or every image
            out.
    """
    path = local_path(path)
    file = _File(path, Known(network), tuple(data), images)
    if path.suffix.lower() == ".json":
        return file.of_json(reading.read_json(path))
    lines = reading.read_lines(path)
    if path.suffix.lower() == ".csv":
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    else:
        rows = [line.rsplit(None, 1) for line in lines]
    return file.of_rows(rows)


class _File:
    def __init__(self, path: Path, known: Known, data: tuple[str, ...], images: Sequence[str]):
        self._path, self._known, self._data = path, known, data
        self._images = [Path(name).stem for name in images]
        self._what = f"labels={path}"

    def of_json(self, content: Any) -> Labels:
        if isinstance(content, Mapping) and content:
            return self._of_names({str(name): value for name, value in content.items()})
        if isinstance(content, list) and content:
            if all(isinstance(each, bool) for each in content):
                return self._of_places(np.flatnonzero(content), len(content))
            if all(isinstance(each, list) for each in content):
                return self._of_numbers(content)
            return self._of_order(content)
        raise ValueError(f"{self._what}: wanted a list, or names with their classes.")

    def of_rows(self, rows: list[list[str]]) -> Labels:
        if all(len(row) == 1 for row in rows):
            return self._of_order([row[0] for row in rows])
        if rows and rows[0][0].casefold() in _HEADINGS:
            rows = rows[1:]
        short = next((i for i, row in enumerate(rows) if len(row) < 2), None)
        if not rows or short is not None:
            said = "no row" if short is None else f"row {short + 1} has no class"
            raise ValueError(f"{self._what}: {said}; wanted a file or a name, and its class.")
        return self._of_names({row[0]: _tokens(row[1]) for row in rows})

    def _of_names(self, content: dict[str, Any]) -> Labels:
        pairs = [isinstance(v, list) and len(v) == 2 for v in content.values()]
        if all(name.isdigit() for name in content) and all(pairs):  # Keras's class index
            named = {str(n): int(i) for i, value in content.items() for n in value}
            return self._of_classes(named)
        if all(_is_number(k) and _is_number(v) for k, v in content.items()) and set(content) == {
            str(i) for i in range(len(self._known.names))
        }:
            places = {int(v): int(k) for k, v in content.items() if int(v) >= 0}
            if sorted(places) == list(range(len(places))) and len(places) < len(content):
                return self._of_places(
                    np.array([places[i] for i in range(len(places))]), len(content)
                )
        stems = {Path(name.replace("\\", "/")).stem: value for name, value in content.items()}
        if not set(self._data) <= set(content) and any(name in stems for name in self._images):
            return self._of_files(stems)
        return self._of_classes(content)

    def _of_files(self, stems: dict[str, Any]) -> Labels:
        found: list[tuple[int, ...]] = []
        for stem in self._images:
            value = stems.get(stem, [])
            listed = value if isinstance(value, list) else [value]
            found.append(tuple(dict.fromkeys(self._class(each, stem) for each in listed)))
        return Labels(images=found)

    def _of_numbers(self, content: list) -> Labels:
        """Of the images whose names end in their number, from 1 on."""
        found: list[tuple[int, ...]] = []
        for stem in self._images:
            number = _NUMBERED.search(stem)
            if number is None or not 1 <= int(number[1]) <= len(content):
                raise ValueError(
                    f"{self._what} has the classes of {len(content)} images by number, and the "
                    f"image {stem} has no such number: wanted names such as "
                    "ILSVRC2012_val_00000001.JPEG."
                )
            listed = content[int(number[1]) - 1]
            found.append(tuple(dict.fromkeys(self._class(each, stem) for each in listed)))
        return Labels(images=found)

    def _of_order(self, content: Sequence[Any]) -> Labels:
        if len(content) != len(self._data):
            hint = " A number for each image does not say which image it is of."
            raise ValueError(
                f"{self._what} has {len(content)} entries, and the data have {len(self._data)} "
                "classes: wanted one for each, or lines of a file and its class."
                + (hint if len(content) == len(self._images) else "")
            )
        named = dict(zip(sorted(self._data), content, strict=True))
        return self._of_classes(named)

    def _of_places(self, chosen: np.ndarray, length: int) -> Labels:
        if length != len(self._known.names) or len(chosen) != len(self._data):
            raise ValueError(
                f"{self._what} chooses {len(chosen)} of {length} classes; the network has "
                f"{len(self._known.names)}, and the data {len(self._data)}: wanted a choice of "
                "the data's."
            )
        order = {name: int(index) for name, index in zip(sorted(self._data), chosen, strict=True)}
        return self._of_classes(order)

    def _of_classes(self, content: Mapping[str, Any]) -> Labels:
        missing = [name for name in self._data if name not in content]
        if missing:
            raise ValueError(
                f"{self._what} has neither the class {missing[0]} nor any image of the data: "
                "wanted names of classes, or of files, with their classes."
            )
        index = np.array([self._class(content[name], name) for name in self._data])
        check_once(index, self._data, self._known.names, self._what)
        among = None
        if len(index) < len(self._known.names):
            among = np.isin(np.arange(len(self._known.names)), index)
        return Labels(ClassMap(index, f"The classes are those of {self._path.name}.", among))

    def _class(self, token: Any, owner: str) -> int:
        """The class of the network that is meant."""
        if isinstance(token, list) and len(token) == 1:
            token = token[0]
        found = None
        if isinstance(token, str):
            found = self._known.find(token)
        if found is None and _is_number(token):
            found = int(token)
        if found is None or not 0 <= found < len(self._known.names):
            raise ValueError(
                f"{self._what}: {owner} has the class {token!r}, which is none of the network's "
                f"{len(self._known.names)}: wanted a number from 0 on, a name or a WordNet id."
            )
        return found


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or bool(isinstance(value, str) and re.fullmatch(r"-?\d+", value))


def _tokens(cell: str) -> list[str] | str:
    """'n03995372 85 1 499 272' -> ['n03995372'], '3 7' -> ['3', '7']; a name is left whole."""
    parts = cell.split()
    ids = [part for part in parts if re.fullmatch(r"n\d{8}", part)]
    if ids:  # the numbers between them are boxes
        return list(dict.fromkeys(ids))
    return parts if len(parts) > 1 and all(map(_is_number, parts)) else cell
