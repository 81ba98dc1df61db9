"""A data set of Hugging Face's `datasets` on disk, with labels (`hf:PATH`).

The columns are found by their names and types: an image (`image`, `img`), and a label (`label`,
`labels`, `fine_label`). What may be in PATH is described in `hf_files`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import fingerprint
from cnn_jax.data.errors import DataError, UnlabelledError
from cnn_jax.data.readers import hf_files, split_names
from cnn_jax.data.survey.labels import is_unlabelled
from cnn_jax.data.types import Record, Source

IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label")


class HFRecords:
    """Rows of `datasets`, with images still encoded.

    Args:
        root: folder of the set.
        stored: the splits that rows are of.
        rows: (split, row) of each record.
        columns: name in a record -> column that is an image.
        labels: label of each record, if there are any.
    """

    def __init__(
        self,
        root: Path,
        stored: Mapping[str, hf_files.Stored],
        rows: Sequence[tuple[str, int]],
        columns: Mapping[str, str],
        labels: Sequence[int] | None = None,
    ):
        self.root, self.columns, self.rows = root, dict(columns), list(rows)
        self.labels = None if labels is None else np.array(labels, np.int64)
        used = {split for split, _ in self.rows}
        self.files = [file for split in sorted(used) for file in stored[split].files]
        self._tables = {split: _encoded(stored[split].rows, self.columns) for split in used}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [self._record(i) for i in indices]

    def _record(self, index: int) -> dict[str, Any]:
        split, row = self.rows[index]
        values = self._tables[split][row]
        record = {name: _image(values[column]) for name, column in self.columns.items()}
        return record if self.labels is None else {**record, "label": int(self.labels[index])}

    def describe(self, index: int) -> str:
        split, row = self.rows[index]
        return f"row {row} of {split}"

    def stored(self) -> Iterable[Path]:
        return self.files

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, self.files)
        for split, row in self.rows:
            yield f"{split} {row}"
        if self.labels is not None:
            yield fingerprint.array(self.labels)


def open_hf_classes(path: str, split: str) -> Source:
    """Opens a set of images with a label.

    Classes are those that the set names; else the values that occur in any split, sorted. Images
    are upright, as `datasets` decodes them. A set without splits has 'all', and a fixed division of
    it into 'train' and 'test'.

    Raises:
        DataError: see `hf_files.open_splits`; there is no such split, or column; a label is
            missing, or is several.
    """
    dataset = f"hf:{path}"
    root, stored = hf_files.open_splits(path)
    features = next(iter(stored.values())).rows.features
    image = find_column(features, IMAGES, "image", dataset, images=True)
    label = find_column(features, LABELS, "label", dataset, images=False)
    values = {name: _values(one.rows, label, f"{dataset}, {name}") for name, one in stored.items()}
    names = getattr(features[label], "names", None)
    if names is None:
        occurring = sorted(
            one
            for one in {value for some in values.values() for value in some}
            if not is_unlabelled(one, values)
        )
        index_of = {value: i for i, value in enumerate(occurring)}
        names = [str(value) for value in occurring]
    else:
        index_of = {i: i for i in range(len(names))}
    if len(names) < 2:
        raise DataError(f"{dataset}: wanted at least two classes; found {', '.join(names)}")
    splits: dict[str, list[tuple[tuple[str, int], int]]] = {
        name: [((name, row), index_of.get(value, -1)) for row, value in enumerate(some)]
        for name, some in values.items()
    }
    if set(splits) == {"all"}:
        splits = split_names.stratified(splits["all"])
    chosen = split_names.select(splits, split, dataset=dataset)
    if wrong := [place for place, one in chosen if one < 0]:
        raise (UnlabelledError if len(wrong) == len(chosen) else DataError)(
            f"{dataset}: {len(wrong)} rows of {wrong[0][0]!r} have no label of the {len(names)} "
            f"classes, the first is row {wrong[0][1]}; choose a split with labels"
        )
    rows, labels = [place for place, _ in chosen], [one for _, one in chosen]
    return Source(
        name=root.resolve().name,
        split=split,
        records=HFRecords(root, stored, rows, {"image": image}, labels),
        class_names=tuple(names),
        image_shape=(None, None, 3),
        upright=True,
    )


def find_column(
    features: Mapping[str, Any],
    names: Sequence[str],
    what: str,
    dataset: str,
    *,
    images: bool,
    but: Sequence[str] = (),
) -> str:
    """The column of the first of these names that is (or is not) of images; without one, the only
    column of images that is none of `but`.

    Raises:
        DataError: there is none, or several may be it.
    """
    fitting = [
        column
        for column, feature in features.items()
        if _is_of_images(feature) == images and column.lower() not in but
    ]
    for name in names:
        for column in fitting:
            if column.lower() == name:
                return column
    if images and len(fitting) == 1:
        return fitting[0]
    kind = "of images" if images else "of classes"
    raise DataError(
        f"{dataset}: wanted a column {kind} for the {what}, named {', '.join(names[:4])}; it has "
        f"{', '.join(features)}: rename_column of `datasets` renames one"
    )


def _is_of_images(feature: Any) -> bool:
    """Whether a column holds images: as `datasets` declares them, or encoded, as other programs
    write them to Parquet."""
    if isinstance(feature, Mapping):
        return "bytes" in feature and set(feature) <= {"bytes", "path"}
    return type(feature).__name__ == "Image" or "binary" in str(getattr(feature, "dtype", ""))


def _encoded(rows: Any, columns: Mapping[str, str]) -> Any:
    """The columns of images alone, which are not decoded."""
    import datasets

    kept = rows.select_columns([*columns.values()]).with_format(None)
    for column in columns.values():
        kept = kept.cast_column(column, datasets.Image(decode=False))
    return kept


def _image(value: Mapping[str, Any] | None) -> bytes | Path:
    """Encoded, or the file; nothing at all, as a damaged image, where it is missing."""
    if value is None:
        return b""
    if value["bytes"] is not None:
        return value["bytes"]
    return Path(value["path"]) if value["path"] else b""


def _values(rows: Any, column: str, place: str) -> list[int | str]:
    """The labels of a split, whole numbers or texts."""
    values = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            came = "missing" if value is None else f"{str(value)[:100]!r}"
            raise DataError(
                f"{place}, row {row}: the {column} is {came}: wanted one class, a whole number or "
                "a text"
            )
    return values
