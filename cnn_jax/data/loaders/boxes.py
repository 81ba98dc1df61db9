"""Images with a box around every object: TFDS sets by name, `coco:PATH` and `voc:PATH`.

Records hold 'image', encoded; 'boxes', float [n, 4], (left, top, right, bottom) as fractions of the
image's sides; 'labels', int [n]; and 'crowd', bool [n], which marks boxes of many objects (or of
objects too difficult to count). `LoadBoxes` brings them to one shape, whatever their number. Boxes
that are unusable for training never reach a batch: `tidy` leaves them out, and `survey` reports how
many there were, and why, before the first step.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.data.crop import resample
from cnn_jax.data.decode import decode_image, read_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.opening import open_source
from cnn_jax.data.pipeline import MEMORY_LIMIT
from cnn_jax.data.types import Record, Source

FITS = ("letterbox", "stretch")

# A box that crosses the border by less, as a fraction of the side, is a rounding error.
ROUNDING = 0.005
LEAST_VISIBLE = 0.25  # fraction of a box's area that a crop must keep

_READ = 256  # records read at a time


def load_box_source(
    dataset: str, split: str, *, data_dir: str | None = None, skip_corrupt: bool = False
) -> Source:
    """Opens a split of a set of images with boxes.

    Args:
        dataset: 'digit_scenes' (built in), another TFDS name whose features are `image`,
            `objects/bbox` and `objects/label`, 'coco:PATH' or 'voc:PATH', see
            `cnn_jax.data.readers.coco` and `cnn_jax.data.readers.voc`.
        split: a TFDS split expression; for folders see their modules.
        data_dir: see `cnn_jax.data.load_source`.
        skip_corrupt: see `cnn_jax.data.Source`.

    Raises:
        DataError: there is no such dataset or split, or it has no boxes.
    """
    source: Source = open_source("boxes", dataset, split, data_dir=data_dir)
    return dataclasses.replace(source, skip_corrupt=skip_corrupt)


class TFDSBoxRecords:
    """Records of TFDS, with its lists as arrays and its (top, left, ...) as (left, top, ...)."""

    def __init__(self, records, crowd: str | None):
        self._records, self._crowd = records, crowd

    def __len__(self) -> int:
        return len(self._records)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [self._record(features) for features in self._records.features(indices)]

    def describe(self, index: int) -> str:
        return self._records.describe(index)

    def identities(self) -> Iterable[str | bytes]:
        return self._records.identities()

    def _record(self, features) -> Record:
        boxes = np.array(features["objects/bbox"].float_list.value, np.float64).reshape(-1, 4)
        labels = np.array(features["objects/label"].int64_list.value, np.int64)
        crowd = np.zeros(len(labels), bool)
        if self._crowd:
            crowd = np.array(features[self._crowd].int64_list.value, bool)
        image = features["image"].bytes_list.value[0]
        return {"image": image, "boxes": boxes[:, [1, 0, 3, 2]], "labels": labels, "crowd": crowd}


def tfds_box_source(dataset: str, split: str, *, data_dir: str | None) -> Source:
    """Opens a TFDS set; see `load_box_source`."""
    from cnn_jax.data.readers.tfds import open_builder, open_records

    builder = open_builder(dataset, data_dir=data_dir)
    features = builder.info.features
    objects = getattr(features["objects"], "feature", {}) if "objects" in features else {}
    if "image" not in features or not {"bbox", "label"} <= set(objects):
        raise DataError(
            f"{dataset} is not a detection set: wanted the features image, objects/bbox and "
            f"objects/label; it has {', '.join(features)}"
        )
    crowd = [f"objects/{name}" for name in ("is_crowd", "is_difficult") if name in objects]
    height, width, channels = features["image"].shape
    return Source(
        name=builder.info.name,
        split=split,
        records=TFDSBoxRecords(
            open_records(builder, split, {"image": "image"}), crowd[0] if crowd else None
        ),
        class_names=tuple(objects["label"].names),
        image_shape=(height, width, channels or 3),
    )


class Tidied(NamedTuple):
    """The usable boxes of an image.

    Attributes:
        boxes: float [m, 4], clipped at the border of the image, as fractions of its sides.
        labels: int [m].
        crowd: bool [m].
        left_out: reason -> number of boxes left out; 'cut' counts boxes that crossed the border
            and were kept.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    left_out: Counter


def tidy(record: Record, num_classes: int) -> Tidied:
    """Leaves out boxes that are not finite, inverted, without area, or outside the image, and those
    of an unknown class; clips boxes at the border."""
    boxes = np.asarray(record["boxes"], np.float64).reshape(-1, 4)
    labels = np.asarray(record["labels"], np.int64)
    finite = np.all(np.isfinite(boxes), axis=1)
    safe = np.where(finite[:, None], boxes, 0)
    inside = np.clip(safe, 0, 1)
    sides, kept_sides = safe[:, 2:] - safe[:, :2], inside[:, 2:] - inside[:, :2]
    reasons = np.select(
        [
            ~finite,
            (sides < 0).any(1),
            (sides == 0).any(1),
            (kept_sides <= 0).any(1),
            (labels < 0) | (labels >= num_classes),
        ],
        ["not finite", "inverted", "without area", "outside the image", "of an unknown class"],
        "",
    )
    left_out = Counter(reasons[reasons != ""].tolist())
    kept = reasons == ""
    if cut := int((np.abs(safe - inside)[kept] > ROUNDING).any(1).sum()):
        left_out["cut"] = cut
    return Tidied(inside[kept], labels[kept], np.asarray(record["crowd"], bool)[kept], left_out)


class Survey(NamedTuple):
    """The contents of a split.

    Attributes:
        pictures: number of images.
        boxes: number of usable boxes.
        most: largest number of usable boxes in an image.
        empty: number of images without usable boxes.
        left_out: see `Tidied`.
        per_class: int [K], number of usable boxes of each class.
    """

    pictures: int
    boxes: int
    most: int
    empty: int
    left_out: Counter
    per_class: np.ndarray

    def __str__(self) -> str:
        text = (
            f"{self.pictures:,} images, {self.boxes:,} boxes, at most {self.most} in one, "
            f"{self.empty} without any"
        )
        reasons = [f"{n} {reason}" for reason, n in self.left_out.items() if reason != "cut"]
        if reasons:
            text += f"; left out: {', '.join(reasons)}"
        if self.left_out["cut"]:
            text += f"; clipped at the border: {self.left_out['cut']}"
        return text


def survey(source: Source) -> Survey:
    """Reads all boxes of a split once, without decoding images."""
    left_out: Counter = Counter()
    counts, classes = [], np.zeros(source.num_classes, np.int64)
    for start in range(0, len(source), _READ):
        for record in source.__getitems__(range(start, min(start + _READ, len(source)))):
            tidied = tidy(record, source.num_classes)
            left_out += tidied.left_out
            counts.append(len(tidied.boxes))
            classes += np.bincount(tidied.labels, minlength=source.num_classes)
    return Survey(
        len(counts), sum(counts), max(counts), counts.count(0), left_out, classes
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LoadBoxes:
    """(record, rng) -> arrays of one shape for every record.

        image   uint8   [H, W, C]  the image, in the top left corner of a frame
        boxes   float32 [N, 4]     (left, top, right, bottom) in pixels of the frame
        labels  int32   [N]        -1 where there is no object
        crowd   float32 [N]        1 for a box of many objects
        factor  float32 [2]        pixels of the frame per pixel of the image, along x and y
        extent  float32 [2]        (height, width) of the image within the frame

    Attributes:
        channels: channels of the image.
        num_classes: K; labels beyond it are left out.
        size: (height, width) of the frame.
        capacity: N, the number of boxes; if there are more, the largest are kept.
        fit: 'letterbox' keeps the aspect ratio and pads; 'stretch' does not.
        fill: colour of the padding, 0..255.
        jitter: (smallest, largest) scale relative to the letterbox, log-uniform, with a window at a
            random place: "large scale jittering", Ghiasi et al. 2021, arXiv:2012.07177; it needs
            rng. None for no jitter.
    """

    channels: int
    num_classes: int
    size: tuple[int, int]
    capacity: int
    fit: str = "letterbox"
    fill: tuple[int, ...] = (124, 116, 104)
    jitter: tuple[float, float] | None = None

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        picture = decode_image(read_image(record["image"]), channels=self.channels)
        tidied = tidy(record, self.num_classes)
        height, width = picture.shape[:2]
        factor = np.array([self.size[1] / width, self.size[0] / height])  # x, y
        if self.fit == "letterbox":
            factor[:] = factor.min()
        if self.jitter is not None and rng is not None:
            factor *= np.exp(rng.uniform(*np.log(self.jitter)))
        sides = np.maximum(np.round(factor * [width, height]), 1).astype(int)  # width, height
        factor = sides / [width, height]
        room = np.maximum(sides - self.size[::-1], 0)
        corner = rng.integers(room + 1) if rng is not None and room.any() else np.zeros(2, int)
        picture = resample(picture, (int(sides[1]), int(sides[0])))
        picture = picture[corner[1] :, corner[0] :][: self.size[0], : self.size[1]]
        frame = np.empty((*self.size, self.channels), np.uint8)
        frame[:] = self.fill if len(self.fill) == self.channels else self.fill[0]
        frame[: picture.shape[0], : picture.shape[1]] = picture

        boxes = tidied.boxes * np.tile(sides, 2) - np.tile(corner, 2)
        cut = np.clip(boxes, 0, np.tile(picture.shape[1::-1], 2))
        kept = _area(cut) >= (LEAST_VISIBLE * _area(boxes) if room.any() else 0)
        order = np.argsort(-_area(cut[kept]), kind="stable")[: self.capacity]
        chosen = np.flatnonzero(kept)[np.sort(order)]
        return {
            "image": frame,
            "boxes": _padded(cut[chosen].astype(np.float32), self.capacity, 0),
            "labels": _padded(tidied.labels[chosen].astype(np.int32), self.capacity, -1),
            "crowd": _padded(tidied.crowd[chosen].astype(np.float32), self.capacity, 0),
            "factor": factor.astype(np.float32),
            "extent": np.array(picture.shape[:2], np.float32),
        }


def box_loader(
    source: Source,
    size: tuple[int, int] | None,
    *,
    capacity: int,
    fit: str = "letterbox",
    mean: Sequence[float] = (),
    jitter: tuple[float, float] | None = None,
) -> LoadBoxes:
    """The `LoadBoxes` of a source.

    Args:
        size: (height, width) of the frame; None if all images have one size.
        mean: mean of the channels in 0..1, used as the colour of the padding.

    Raises:
        DataError: the images may differ in size and no size is given; an unknown fit.
    """
    height, width = size or source.image_shape[:2]
    if height is None or width is None:
        raise DataError(f"the images of {source.name} may differ in size: give an image_size")
    if fit not in FITS:
        raise DataError(f"fit {fit!r}: choose one of {', '.join(FITS)}")
    if capacity < 1:
        raise DataError(f"room for {capacity} boxes: wanted at least 1")
    fill = tuple(round(255 * m) for m in mean) or LoadBoxes.fill
    channels = source.image_shape[2]
    frame = (height, width)
    return LoadBoxes(channels, source.num_classes, frame, capacity, fit, fill, jitter)


def fits_in_memory(source: Source, load: LoadBoxes) -> bool:
    """Whether all decoded images may be kept in memory; with jitter each is decoded anew."""
    height, width = load.size
    return load.jitter is None and len(source) * height * width * load.channels <= MEMORY_LIMIT


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1)


def _padded(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    padded = np.full((length, *values.shape[1:]), fill, values.dtype)
    padded[: len(values)] = values
    return padded
