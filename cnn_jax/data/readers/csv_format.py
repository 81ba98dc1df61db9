"""The rows of a CSV or TSV of files and labels, checked before they are used.

The separator is a comma, a semicolon or a tab. The columns are found by their names in the first
line; two columns may go without names, the file before the label.
"""

import csv
import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cnn_jax.data import reading
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names
from cnn_jax.data.readers.image_files import SUFFIXES

FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "image", "imagepath", "imagename", "imagefile",
    "imagefilename", "imgpath", "img",
)  # fmt: skip
KEY_COLUMNS = ("imageid", "idcode", "imgid", "id")  # the file, where no other column is it
LABEL_COLUMNS = (
    "label", "class", "category", "target", "classname", "labelname", "classid", "labelid",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "subset", "partition")
_SEPARATORS = "\t,;|"
_STATED = re.compile(r'"?sep=(.)"?\r?\n')  # a first line by which Excel knows the separator
_JUDGED = 100  # lines by which the separator is chosen


class Row(NamedTuple):
    """One line: the file and the label as they are written, 'train', 'val', 'test' or '' if there
    is no column for it, and the number of the line in the file."""

    file: str
    label: str
    split: str
    line: int


class _Columns(NamedTuple):
    file: int
    label: int
    split: int | None
    named: bool  # whether the first line names them


def parse(file: Path, *, several: bool = False) -> list[Row]:
    """The rows of a CSV, without blank ones.

    With `several` an image may have several labels or none: the cell of the label may be empty, and
    without a column of labels each further column is a class, with 0 or 1. The labels are then the
    names of those with 1, separated by '|'.

    Raises:
        DataError: the file is not text or not a CSV; it lacks a column, or has two for one thing; a
            row has another number of cells, an empty one, or a split of another name. The message
            names the file and the line.
    """
    lines = _read(reading.read_list(file, lambda text: _are_there(text, file)), file)
    if not lines:
        raise DataError(f"{file} is empty: wanted a line for each image, with its file and label")
    if several:
        lines = _gathered(lines, file)
    columns = _columns(lines[0], file)
    last = max(columns.file, columns.label, columns.split or 0)
    width = max(len(_without_end(lines[0][1])), last + 1)
    rows = []
    for number, cells in lines[columns.named :]:
        if len(cells) > width:
            cells = [*cells[:width], *_without_end(cells[width:])]
        if len(cells) != width:
            raise DataError(
                f"{file}:{number}: {len(cells)} cells, and the first line has {width}; put quotes "
                "around a cell that holds the separator"
            )
        rows.append(_row(cells, columns, f"{file}:{number}", number, several))
    if not rows:
        raise DataError(f"{file} has no line but the names of its columns: wanted one an image")
    return rows


def _are_there(text: str, file: Path) -> bool:
    """Whether a text names files beyond ASCII, of which all that are asked for are there."""
    try:
        lines = _read(text, file)
        columns = _columns(lines[0], file)
    except (DataError, IndexError):
        return False
    names = [
        cells[columns.file] for _, cells in lines[columns.named :] if len(cells) > columns.file
    ]
    telling = [name.replace("\\", "/") for name in names if not name.isascii()][:_JUDGED]
    return bool(telling) and all(os.path.exists(file.parent / name) for name in telling)


def _without_end(cells: Sequence[str]) -> Sequence[str]:
    """The cells without empty ones at the end, from separators that end a line."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells


def _gathered(lines: list[tuple[int, list[str]]], file: Path) -> list[tuple[int, list[str]]]:
    """The lines with one column of labels, made of a column for each class where there are such."""
    head = lines[0][1]
    if _named(head) != (True, False):
        return lines
    kept = [i for i, name in enumerate(head) if _plain(name) in (*FILE_COLUMNS, *SPLIT_COLUMNS)]
    classes = [i for i, name in enumerate(head) if i not in kept and name]
    gathered = [(lines[0][0], [*(head[i] for i in kept), LABEL_COLUMNS[0]])]
    for number, cells in lines[1:]:
        cells = [*cells, *[""] * (len(head) - len(cells))]
        for i in classes:
            if cells[i] not in ("0", "1", "0.0", "1.0"):
                raise DataError(
                    f"{file}:{number}: {head[i][:50]} is {cells[i][:50]!r}: without a column "
                    f"'{LABEL_COLUMNS[0]}' every other column is a class, with 0 or 1"
                )
        there = "|".join(head[i] for i in classes if float(cells[i]))
        gathered.append((number, [*(cells[i] for i in kept), there]))
    return gathered


def _row(
    cells: Sequence[str], columns: _Columns, place: str, line: int, several: bool = False
) -> Row:
    name, label = cells[columns.file], reading.text_of_name(cells[columns.label])
    if not name or not (label or several):
        what = "label" if name else "file"
        raise DataError(f"{place}: the {what} is empty; fill it in, or remove the line")
    if columns.split is None:
        return Row(name, label, "", line)
    split = split_names.canonical(cells[columns.split])
    if split is None:
        raise DataError(
            f"{place}: the split is {cells[columns.split][:100]!r}, wanted train, val or test"
        )
    return Row(name, label, split, line)


def _read(text: str, file: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) by the separator that suits the first lines.

    That is the one by which the first line has the names that are wanted, or else all lines begin
    with an image, or have as many cells; a wrong choice is seen in that the files are not there.
    """
    tried, errors = [], []
    if stated := _STATED.match(text):
        text = "\n" + text[stated.end() :]  # the numbers of the lines stay
    for separator in (stated[1],) if stated else _SEPARATORS:
        try:
            lines = list(itertools.islice(_lines(text, separator), _JUDGED))
        except csv.Error as error:
            errors.append(error)
            continue
        widths = {len(cells) for _, cells in lines}
        named = bool(lines) and _named(lines[0][1]) == (True, True)
        images = bool(lines) and all(_is_image(cells[0]) for _, cells in lines)
        tried.append((named, images and widths != {1}, widths != {1}, len(widths) == 1, separator))
    if not errors or any(named or several for named, _, several, _, _ in tried):
        try:
            return list(_lines(text, max(tried, key=lambda one: one[:-1])[-1]))
        except csv.Error as error:
            errors = [error]
    raise DataError(f"{file} is not a CSV: {errors[0]}; save it again as CSV")


def _lines(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    start = 1
    try:
        for cells in rows:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield start, stripped
            start = rows.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"line {rows.line_num}: {error}") from error


def _columns(first: tuple[int, list[str]], file: Path) -> _Columns:
    number, cells = first
    named = _named(cells)
    if named == (False, False) and len(cells) == 2 and _is_image(cells[0]):
        return _Columns(0, 1, None, named=False)
    if not all(named):
        lacking = [
            f"{what} ({', '.join(names[:4])})"
            for what, names, there in zip(
                ("file", "label"), (FILE_COLUMNS, LABEL_COLUMNS), named, strict=True
            )
            if not there
        ]
        hint = "add a first line with names" if any(map(_is_image, cells)) else "rename one so"
        raise DataError(
            f"{file}:{number}: no column for the {' nor for the '.join(lacking)} among "
            f"{', '.join(cell[:50] for cell in cells[:20])}; {hint}"
        )
    split = _only(cells, SPLIT_COLUMNS, "split", file)
    file_column = _only(cells, FILE_COLUMNS, "file", file)
    if file_column is None:
        file_column = _only(cells, KEY_COLUMNS, "file", file)
    label_column = _only(cells, LABEL_COLUMNS, "label", file)
    assert file_column is not None  # as _named says
    assert label_column is not None
    return _Columns(file_column, label_column, split, named=True)


def _only(cells: Sequence[str], names: Sequence[str], what: str, file: Path) -> int | None:
    found = [i for i, cell in enumerate(cells) if _plain(cell) in names]
    if len(found) > 1:
        several = " and ".join(repr(cells[i][:50]) for i in found)
        raise DataError(
            f"{file}: the columns {several} may each be the {what}; rename all but one of them"
        )
    return found[0] if found else None


def _named(cells: Sequence[str]) -> tuple[bool, bool]:
    """Whether a line has the names of a column of files, and of a column of labels."""
    plain = {_plain(cell) for cell in cells}
    return (
        not plain.isdisjoint((*FILE_COLUMNS, *KEY_COLUMNS)),
        not plain.isdisjoint(LABEL_COLUMNS),
    )


def _plain(cell: str) -> str:
    """A column's name without what people write differently: 'File Name' is 'filename'."""
    plain = cell.lower().replace("_", "").replace("-", "").replace(" ", "")
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") else plain


def _is_image(name: str) -> bool:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower() in SUFFIXES
