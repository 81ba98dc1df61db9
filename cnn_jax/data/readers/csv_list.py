"""A CSV or TSV of files and their labels (`csv:PATH`).

    PATH = labels.csv        file,label,split     paths from the folder of the CSV, or absolute
                             cat/1.jpg,cat,train  or below its `images`; suffixes may be left out
    PATH = a folder          train.csv, test.csv and perhaps val.csv (valid.csv)

Without a column `split` one CSV has 'all', and a fixed division of it into 'train' and 'test'.
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.data import remote
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import csv_format, split_names
from cnn_jax.data.readers.folder import FolderRecords
from cnn_jax.data.readers.named_files import NamedFiles
from cnn_jax.data.survey.labels import NONE, is_unlabelled
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv")
_SHOWN = 3  # missing files that an error names


class _Listed(NamedTuple):
    """An image as a CSV lists it.

    Attributes:
        file: its path, from the folder of the CSV or absolute.
        label: as it is written.
        place: 'labels.csv:12', for messages.
    """

    file: str
    label: str
    place: str


def open_csv(path: str, split: str, *, multilabel: bool = False) -> Source:
    """Opens a CSV of files and labels, or a folder with one for each split.

    With `multilabel` an image has several labels or none, see `csv_format.parse`: they are
    separated by '|', ';' or ',', or where no label has one of these by spaces.

    Classes are the labels that occur in any split, sorted: numbers by their value, texts by
    character. Records have a fixed order by the names of the files, which mixes the classes.

    Raises:
        DataError: there is no such file or split; a line is not as `csv_format` wants it; an image
            is missing, has two labels, or is in the training split and another; there are fewer
            than two classes; the labels are fractions.
    """
    place = remote.here(f"csv:{path}", path)
    dataset = f"csv:{path}"
    if not path or not os.path.exists(place):
        raise DataError(f"{dataset}: there is no {place}; write csv:FILE or csv:FOLDER")
    root = place if os.path.isdir(place) else place.parent
    listed = _listed(place, dataset, multilabel)
    _check_shared(listed, dataset)
    if multilabel:
        return _of_several(place, root, split, listed, dataset)
    labels = {name: {one.label for one in images} for name, images in listed.items()}
    occurring = {one for some in labels.values() for one in some}
    names = _class_names({one for one in occurring if not is_unlabelled(one, labels)}, dataset)
    label_of = {name: i for i, name in enumerate(names)}
    places = {one.file: one.place for images in listed.values() for one in images}
    splits = {
        name: [(one.file, label_of.get(one.label, NONE)) for one in images]
        for name, images in listed.items()
    }
    if set(splits) == {"all"}:
        splits = split_names.stratified(splits["all"])
    examples = split_names.select(splits, split, dataset=dataset)
    return Source(
        name=root.resolve().name if os.path.isdir(place) else place.resolve().stem,
        split=split,
        records=FolderRecords(root, _found(examples, root, places, dataset)),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
    )


def _of_several(
    place: Path, root: Path, split: str, listed: dict[str, list[_Listed]], dataset: str
) -> Source:
    """The split, whose images have several labels: int [n, K], 0 or 1 for each class."""
    cells = [one.label for images in listed.values() for one in images]
    separator = next((mark for mark in "|;," if any(mark in cell for cell in cells)), None)

    def labels_in(cell: str) -> set[str]:
        return {part.strip() for part in cell.split(separator)} - {""}

    names = _class_names({label for cell in cells for label in labels_in(cell)}, dataset)
    places = {one.file: one.place for images in listed.values() for one in images}
    splits: dict[str, list[tuple[str, tuple[int, ...]]]] = {
        name: [
            (one.file, tuple(int(label in labels_in(one.label)) for label in names))
            for one in images
        ]
        for name, images in listed.items()
    }
    if set(splits) == {"all"}:
        # by chance alone: most combinations of labels are rare
        parts = split_names.stratified([(one, 0) for one in splits["all"]])
        splits = {name: [one for one, _ in some] for name, some in parts.items()}
    examples = split_names.select(splits, split, dataset=dataset)
    found = _found(examples, root, places, dataset)
    return Source(
        name=root.resolve().name if os.path.isdir(place) else place.resolve().stem,
        split=split,
        records=FolderRecords(root, found),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
    )


def _listed(place: Path, dataset: str, several: bool = False) -> dict[str, list[_Listed]]:
    """Split -> images; {'all': images} if there are none."""
    if not os.path.isdir(place):
        splits: dict[str, list[csv_format.Row]] = {}
        for row in csv_format.parse(place, several=several):
            splits.setdefault(row.split or "all", []).append(row)
        return {name: _distinct(rows, place) for name, rows in splits.items()}
    found: dict[str, Path] = {}
    others = []
    for file in sorted(place.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        name = split_names.canonical(file.stem)
        if name is None:
            others.append(file.name)
        elif (other := found.setdefault(name, file)) is not file:
            raise DataError(f"{dataset}: {other} and {file} are lists of one split: keep one")
    if not found:
        instead = f"write csv:{place / others[0]}" if others else f"{place} holds no CSV"
        raise DataError(f"{dataset}: wanted train.csv and test.csv in the folder; {instead}")
    if others:
        _log.warning("%s: left out %s, which names no split", dataset, ", ".join(others))
    listed = {}
    for name, file in found.items():
        rows = csv_format.parse(file, several=several)
        for row in rows:
            if row.split not in ("", name):
                raise DataError(
                    f"{file}:{row.line}: the split is {row.split!r} in a list of {name!r}; remove "
                    f"the column, or give the list alone, csv:{file}"
                )
        listed[name] = _distinct(rows, file)
    return listed


def _distinct(rows: Sequence[csv_format.Row], file: Path) -> list[_Listed]:
    """The images of one split in an order that depends on their names alone, each once."""
    first: dict[str, csv_format.Row] = {}
    again = []
    for row in rows:
        name = os.path.normpath(row.file)
        one = first.setdefault(name, row)
        if one.label != row.label:
            raise DataError(
                f"{file}:{row.line}: {row.file[:200]} has the label {row.label[:100]!r} here and "
                f"{one.label[:100]!r} in line {one.line}; wanted one label an image, keep one line"
            )
        if one is not row:
            again.append(row)
    if again:
        _log.warning(
            "%s: left out %d lines that repeat another, the first is line %d, %s",
            file, len(again), again[0].line, again[0].file,
        )  # fmt: skip
    images = [_Listed(name, row.label, f"{file}:{row.line}") for name, row in first.items()]
    return sorted(images, key=lambda one: _digest(one.file))


def _digest(name: str) -> bytes:
    plain = name.replace("\\", "/").encode(errors="surrogatepass")
    return hashlib.blake2b(plain, digest_size=16).digest()


def _check_shared(listed: Mapping[str, Sequence[_Listed]], dataset: str) -> None:
    """Refuses images of the training split in another; says which are in both others."""
    seen: dict[str, tuple[str, _Listed]] = {}
    shared = []
    for split in sorted(listed, key=lambda name: name != "train"):
        for one in listed[split]:
            other_split, other = seen.setdefault(one.file, (split, one))
            if other_split == "train" != split:
                raise DataError(
                    f"{dataset}: {one.file[:200]} is in {other_split!r} ({other.place}) and in "
                    f"{split!r} ({one.place}): a test on what was trained on says nothing; remove "
                    "one of the lines"
                )
            if other is not one:
                shared.append(one)
    if shared:
        _log.warning("%s: %d images are in 'val' and in 'test'", dataset, len(shared))
    if "train" in listed:
        trained = {one.label for one in listed["train"]}
        alien = {one.label for images in listed.values() for one in images} - trained
        if alien:
            _log.warning(
                "%s: no image of 'train' has the label %s, which others have",
                dataset, ", ".join(map(repr, sorted(alien)[:5])),
            )  # fmt: skip


def _class_names(labels: Iterable[str], dataset: str) -> tuple[str, ...]:
    """The distinct labels in order: numbers by their value, texts by character."""
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(
            f"{dataset}: every image has the label {names[0]!r}: wanted at least two classes"
        )
    numbers = [_number(name) for name in names]
    values = [number for number in numbers if number is not None]
    if len(values) == len(names):
        if fraction := [n for n, v in zip(names, values, strict=True) if not v.is_integer()]:
            raise DataError(
                f"{dataset}: labels such as {fraction[0]} are fractions: wanted classes, names or "
                "whole numbers"
            )
        names = [name for _, name in sorted(zip(values, names, strict=True))]
        for one, other in itertools.pairwise(names):
            if float(one) == float(other):
                raise DataError(
                    f"{dataset}: the labels {one!r} and {other!r} are one number: write it one way"
                )
    elif values:
        some = [names[numbers.index(values[0])], names[numbers.index(None)]]
        _log.warning("%s: some labels are numbers and some are texts: %r and %r", dataset, *some)
    folded: dict[str, str] = {}
    for name in names:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            _log.warning("%s: the labels %r and %r are two classes", dataset, other, name)
    return tuple(names)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 2**53 else None  # 'nan' and 'inf' are no numbers of a class


def _file(there: NamedFiles, root: Path, name: str, place: str) -> Path | None:
    """The file of an image: as it is written, or without its suffix, in the folder of the CSV; or
    so in one below it that has the usual name, or that of the CSV."""
    plain = name.replace("\\", "/")  # written on Windows
    if file := there.find(root, name) or (there.find(root, plain) if plain != name else None):
        return file
    listed = os.path.splitext(os.path.basename(place.rpartition(":")[0]))[0]
    folders = [root / below for below in ("", "images", listed, f"{listed}_images")]
    for find in (there.find, there.find_stem):
        if file := next(filter(None, (find(folder, plain) for folder in folders)), None):
            return file
    return None


def _found(
    examples: Sequence[tuple[str, Any]], root: Path, places: Mapping[str, str], dataset: str
) -> list[tuple[str, Any]]:
    """The examples by the paths under which their files are there."""
    there = NamedFiles()
    found, missing = [], []
    for name, label in examples:
        file = _file(there, root, name, places[name])
        if file is None:
            missing.append(name)
        elif os.path.join(root, name) == str(file):
            found.append((name, label))
        else:
            found.append((str(file) if os.path.isabs(name) else os.path.relpath(file, root), label))
    if missing:
        shown = ", ".join(f"{name[:200]} ({places[name]})" for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise DataError(
            f"{dataset}: {shown}{more} not found from {root}; wanted paths relative to the folder "
            f"of the CSV, with their suffix, or absolute ones{there.hint(root, missing[0])}"
        )
    return found
