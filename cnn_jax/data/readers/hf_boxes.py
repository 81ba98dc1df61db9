"""A data set of Hugging Face's `datasets` on disk, with boxes (`hf:PATH`).

Its column `objects` has for each image the lists `bbox` and `category` (or a list with both in each
entry): a box is (x, y, width, height) in pixels, as in COCO, of the upright image or of the stored
one, see `hf_frames`. What may be in PATH is described in `hf_files`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import fingerprint
from cnn_jax.data.errors import DataError
from cnn_jax.data.orientation import Size, turn_boxes
from cnn_jax.data.readers import hf, hf_files, hf_frames, split_names
from cnn_jax.data.types import Record, Source

OBJECTS = ("objects", "annotations", "object")
BOXES = ("bbox", "bboxes", "boxes")
CATEGORIES = ("category", "categories", "category_id", "label", "labels")
CROWDS = ("is_crowd", "iscrowd")
OVERRUN = 1.01  # sides of the image, up to which a box may reach by mistake


class HFBoxRecords:
    """Images and their objects: boxes float [n, 4] in pixels, labels int [n], crowd bool [n].

    Args:
        images: the images.
        objects: of each.
        stated: size of each, in whose pixels the boxes are; None for one without.
        stored: see `hf_frames.are_stored`.
    """

    def __init__(
        self,
        images: hf.HFRecords,
        objects: Sequence[tuple[np.ndarray, ...]],
        stated: Sequence[Size | None],
        stored: bool,
    ):
        self.images, self.objects = images, list(objects)
        self.stated, self.stored_frames = list(stated), stored

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [
            self._record(i, record["image"])
            for i, record in zip(indices, self.images.__getitems__(indices), strict=True)
        ]

    def _record(self, index: int, image: bytes | Path) -> dict[str, Any]:
        boxes, labels, crowd = self.objects[index]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        header = hf_frames.header_of(image)
        if header is not None:  # decoding a damaged image raises an error with its name
            frame = hf_frames.frame_of(
                header, self.stated[index], self.stored_frames, self.describe(index)
            )
            corners = turn_boxes(corners / np.tile(frame.size, 2), frame.annotation)
        return {"image": image, "boxes": corners, "labels": labels, "crowd": crowd}

    def describe(self, index: int) -> str:
        return self.images.describe(index)

    def stored(self) -> Iterable[Path]:
        return self.images.stored()

    def identities(self) -> Iterable[str | bytes]:
        yield from self.images.identities()
        for one in self.objects:
            yield from map(fingerprint.array, one)
        if self.stored_frames:
            yield "boxes of images as they are stored"


def open_hf_boxes(path: str, split: str) -> Source:
    """Opens a set of images with objects.

    Classes are those that the set names; else the values that occur in any split, sorted.

    Raises:
        DataError: see `hf_files.open_splits`; there is no such split, or column; an object is not
            of four numbers and a class; the boxes seem to be corners, or fractions.
    """
    dataset = f"hf:{path}"
    root, stored = hf_files.open_splits(path)
    features = next(iter(stored.values())).rows.features
    image = hf.find_column(features, hf.IMAGES, "image", dataset, images=True)
    column, fields = _objects(features, dataset)
    read = {
        name: _read(one.rows, column, fields, f"{dataset}, {name}") for name, one in stored.items()
    }
    names, index_of = _classes(_inner(features[column])[fields["category"]], read, dataset)
    objects: dict[tuple[str, int], tuple[np.ndarray, ...]] = {
        (name, row): (boxes, np.array([index_of.get(c, -1) for c in kinds], np.int64), crowd)
        for name, some in read.items()
        for row, (boxes, kinds, crowd) in enumerate(some)
    }
    sizes = {name: _sizes(one.rows) for name, one in stored.items()}
    frames = _judge(root, stored, image, objects, sizes, dataset)
    splits = {name: [((name, row), 0) for row in range(len(some))] for name, some in read.items()}
    if set(splits) == {"all"}:
        splits = split_names.stratified(splits["all"])
    rows = [place for place, _ in split_names.select(splits, split, dataset=dataset)]
    return Source(
        name=root.resolve().name,
        split=split,
        records=HFBoxRecords(
            hf.HFRecords(root, stored, rows, {"image": image}),
            [objects[row] for row in rows],
            [sizes[name][row] for name, row in rows],
            frames,
        ),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
    )


def _inner(feature: Any) -> Mapping[str, Any]:
    """The fields of objects: of a dict of lists, or of a list of dicts."""
    inner = getattr(feature, "feature", feature)
    if isinstance(inner, Mapping):
        return {name: getattr(one, "feature", one) for name, one in inner.items()}
    return {}


def _objects(features: Mapping[str, Any], dataset: str) -> tuple[str, dict[str, str]]:
    """The column of objects, and the names of its fields 'bbox', 'category' and perhaps 'crowd'."""
    for column in OBJECTS:
        inner = _inner(features[column]) if column in features else {}
        fields = {
            what: name
            for what, names in (("bbox", BOXES), ("category", CATEGORIES), ("crowd", CROWDS))
            for name in reversed(names)
            if name in inner
        }
        if {"bbox", "category"} <= set(fields):
            return column, fields
    raise DataError(
        f"{dataset}: wanted a column `objects` with `bbox` and `category` in it; it has "
        f"{', '.join(features)}"
    )


def _sizes(rows: Any) -> list[Size | None]:
    """The (width, height) that the annotation of each image gives."""
    if not {"width", "height"} <= set(rows.features):
        return [None] * len(rows)
    table = rows.select_columns(["width", "height"]).with_format("arrow")[:]
    sides = [table.column(side).to_pylist() for side in ("width", "height")]
    return [
        (width, height) if type(width) in (int, float) and type(height) in (int, float) else None
        for width, height in zip(*sides, strict=True)
    ]


def _read(
    rows: Any, column: str, fields: Mapping[str, str], place: str
) -> list[tuple[np.ndarray, list[Any], np.ndarray]]:
    """Boxes float [n, 4], classes and crowds of each image, as they are written."""
    values = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    read = []
    for row, value in enumerate(values):
        if isinstance(value, list):
            value = {name: [one[name] for one in value] for name in fields.values()}
        held = {what: (value or {}).get(name) or [] for what, name in fields.items()}
        kinds = held["category"]
        try:
            boxes = np.array(held["bbox"], np.float64).reshape(len(kinds), 4)
            crowd = np.array(held.get("crowd") or [0] * len(kinds), bool).reshape(len(kinds))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{place}, row {row}: {len(held['bbox'])} boxes and {len(kinds)} categories: "
                "wanted four numbers and one category for each object"
            ) from error
        read.append((boxes, kinds, crowd))
    return read


def _classes(
    feature: Any, read: Mapping[str, Sequence[tuple]], dataset: str
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The names of the classes, and the label of each value."""
    names = getattr(feature, "names", None)
    if names is not None:
        return tuple(names), {i: i for i in range(len(names))}
    occurring = {kind for some in read.values() for _, kinds, _ in some for kind in kinds}
    occurring.discard(None)  # of an unknown class, which is left out and counted
    if not occurring or not all(isinstance(kind, (int, str)) for kind in occurring):
        raise DataError(f"{dataset}: wanted categories that are whole numbers or texts")
    values = sorted(occurring)
    return tuple(map(str, values)), {value: i for i, value in enumerate(values)}


def _judge(
    root: Path,
    stored: Mapping[str, hf_files.Stored],
    image: str,
    objects: Mapping[tuple[str, int], tuple[np.ndarray, ...]],
    sizes: Mapping[str, Sequence[Size | None]],
    dataset: str,
) -> bool:
    """Refuses boxes that are not (x, y, width, height) in pixels, by a sample of the images; and
    whether they are of images as they are stored.

    Half of the sets of the hub have corners, which would train without a word.
    """
    with_boxes = [place for place, (boxes, *_) in objects.items() if len(boxes)]
    sample = with_boxes[:: max(1, len(with_boxes) // hf_frames.JUDGED)]
    if not sample:
        raise DataError(f"{dataset}: no image has an object")
    images = hf.HFRecords(root, stored, sample, {"image": image})
    stated = [sizes[name][row] for name, row in sample]
    frames = hf_frames.are_stored(
        [images.describe(i) for i in range(len(sample))],
        [hf_frames.header_of(images.__getitems__([i])[0]["image"]) for i in range(len(sample))],
        stated,
        dataset,
    )
    records = HFBoxRecords(images, [objects[place] for place in sample], stated, frames)
    shares = []  # sides at the right and the bottom as if they were sizes; boxes, as fractions
    for index, place in enumerate(sample):
        boxes = objects[place][0]
        made = records.__getitems__([index])[0]["boxes"]
        with np.errstate(all="ignore"):
            sides = np.nan_to_num(made[:, 2:] - made[:, :2])
        shares.append(np.concatenate([np.nan_to_num(made), sides, boxes], axis=1))
    held = np.concatenate(shares)  # left, top, right, bottom, width, height; the four numbers
    beyond = (held[:, 2:4] > OVERRUN).any(1)
    as_corners = (held[:, 4:6] <= OVERRUN).all(1) & (held[:, 8:] >= held[:, 6:8]).all(1)
    if beyond.mean() > 0.05 and as_corners.all():
        raise DataError(
            f"{dataset}: {beyond.mean():.0%} of the boxes would reach beyond their images, and all "
            "seem to be corners (left, top, right, bottom): wanted (x, y, width, height); subtract "
            "the first two numbers from the last two by `map` of `datasets`"
        )
    if np.abs(held[:, 6:]).max() <= 1:
        raise DataError(
            f"{dataset}: all numbers of the boxes are at most 1 and seem to be fractions: wanted "
            "pixels; multiply them by the sides of the images by `map` of `datasets`"
        )
    return frames
