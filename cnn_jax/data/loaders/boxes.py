"""An example with a box around every object: an image in a frame, and a fixed number of boxes.

Boxes that are unusable for training never reach a batch: `tidy` leaves them out, and
`cnn_jax.data.survey.boxes` reports how many there were, and why, before the first step.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.data.crop import resample, sizes_differ
from cnn_jax.data.decode import decode_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.pixel_rule import CURRENT, PixelRule
from cnn_jax.data.types import Record, Source

FITS = ("letterbox", "stretch")

# A box that crosses the border by less, as a fraction of the side, is a rounding error.
ROUNDING = 0.005
LEAST_VISIBLE = 0.25  # fraction of a box's area that a crop must keep


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
        upright: whether to rotate images as their EXIF orientation says; boxes stay. A record's
            own 'upright' goes before.
        rule: the pixel rule of the run, or of the set.
    """

    channels: int
    num_classes: int
    size: tuple[int, int]
    capacity: int
    fit: str = "letterbox"
    fill: tuple[int, ...] = (124, 116, 104)
    jitter: tuple[float, float] | None = None
    upright: bool = False
    rule: PixelRule = CURRENT

    @property
    def random(self) -> bool:
        return self.jitter is not None

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        upright = record.get("upright", self.upright)
        image = decode_image(
            record["image"], channels=self.channels, upright=upright, rule=self.rule
        )
        tidied = tidy(record, self.num_classes)
        height, width = image.shape[:2]
        factor = np.array([self.size[1] / width, self.size[0] / height])  # x, y
        if self.fit == "letterbox":
            factor[:] = factor.min()
        if self.jitter is not None and rng is not None:
            factor *= np.exp(rng.uniform(*np.log(self.jitter)))
        sides = np.maximum(np.round(factor * [width, height]), 1).astype(int)  # width, height
        factor = sides / [width, height]
        room = np.maximum(sides - self.size[::-1], 0)
        corner = rng.integers(room + 1) if rng is not None and room.any() else np.zeros(2, int)
        image = resample(image, (int(sides[1]), int(sides[0])))
        image = image[corner[1] :, corner[0] :][: self.size[0], : self.size[1]]
        frame = np.empty((*self.size, self.channels), np.uint8)
        frame[:] = self.fill if len(self.fill) == self.channels else self.fill[0]
        frame[: image.shape[0], : image.shape[1]] = image

        boxes = tidied.boxes * np.tile(sides, 2) - np.tile(corner, 2)
        cut = np.clip(boxes, 0, np.tile(image.shape[1::-1], 2))
        kept = _area(cut) >= (LEAST_VISIBLE * _area(boxes) if room.any() else 0)
        order = np.argsort(-_area(cut[kept]), kind="stable")[: self.capacity]
        chosen = np.flatnonzero(kept)[np.sort(order)]
        return {
            "image": frame,
            "boxes": _padded(cut[chosen].astype(np.float32), self.capacity, 0),
            "labels": _padded(tidied.labels[chosen].astype(np.int32), self.capacity, -1),
            "crowd": _padded(tidied.crowd[chosen].astype(np.float32), self.capacity, 0),
            "factor": factor.astype(np.float32),
            "extent": np.array(image.shape[:2], np.float32),
        }


def box_loader(
    source: Source,
    image_size: tuple[int, int] | None = None,
    *,
    capacity: int,
    fit: str = "letterbox",
    mean: Sequence[float] = (),
    jitter: Sequence[float] = (),
) -> LoadBoxes:
    """The loader that fits a source's images and boxes to one frame.

    Args:
        image_size: (height, width) of the frame; None if all images have one size.
        capacity: number of boxes of an example; see `LoadBoxes`.
        fit: 'letterbox' or 'stretch'; see `LoadBoxes`.
        mean: mean of the channels in 0..1, used as the colour of the padding.
        jitter: smallest and largest scale, see `LoadBoxes`; () for no jitter.

    Raises:
        DataError: the images may differ in size and no size is given; an unknown fit; a jitter that
            is not two factors in order.
    """
    height, width = image_size or source.image_shape[:2]
    if height is None or width is None:
        raise sizes_differ(source)
    if fit not in FITS:
        raise DataError(f"fit={fit}: choose one of {', '.join(FITS)}")
    if capacity < 1:
        raise DataError(f"room for {capacity} boxes: wanted at least 1")
    bounds = None
    if jitter:
        if len(jitter) != 2 or not 0 < jitter[0] <= jitter[1]:
            raise DataError(
                f"jitter={','.join(map(str, jitter))}: wanted the smallest and the largest factor, "
                "such as jitter=0.5,2"
            )
        bounds = (jitter[0], jitter[1])
    fill = tuple(round(255 * m) for m in mean) or LoadBoxes.fill
    channels = source.image_shape[2]
    return LoadBoxes(
        channels,
        source.num_classes,
        (height, width),
        capacity,
        fit,
        fill,
        bounds,
        source.upright,
        source.pixels,
    )


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1)


def _padded(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    padded = np.full((length, *values.shape[1:]), fill, values.dtype)
    padded[: len(values)] = values
    return padded
