"""Examples as one can look at them: as they are stored, loaded, and shown to the network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_jax import data
from cnn_jax.analysis.look.contents import Captioned, Sight
from cnn_jax.data.loaders.boxes import tidy
from cnn_jax.data.objects import Object

LEAST_PART = 48  # pixels of an image that are shown around an object, at least
AROUND = 2.5  # sides of what is shown, in sides of the object


def name_of(source: data.Source, index: int) -> str:
    """The file or key of a record, or its number."""
    return source.records.describe(index) or f"record {index}"


def stored(source: data.Source, index: int) -> Sight:
    """A record at its own size, decoded by the function that decodes it for the network.

    Raises:
        ValueError or OSError: it is damaged, or cannot be read.
    """
    record = source[index]
    if "boxes" in record:
        upright = record.get("upright", source.upright)
        channels = source.image_shape[-1]
        pixels = data.decode_image(
            record["image"], channels=channels, upright=upright, rule=source.pixels
        )
        tidied = tidy(record, source.num_classes)
        kept = ~tidied.crowd
        boxes = tidied.boxes[kept] * np.tile(pixels.shape[1::-1], 2)
        return Sight(pixels, boxes=boxes, labels=tidied.labels[kept])
    load: Any
    if "mask" in record and source.load is None:
        load = dataclasses.replace(data.mask_loader(source, (1, 1)), size=None)
    elif source.load is None:
        whole: Any = data.image_loader(source, (1, 1))
        load = dataclasses.replace(whole, size=None, crop=None)
    else:
        load = source.load
    example = load(record, None)
    return of_row(example, source.class_names)


def of_row(row: Mapping[str, Any], class_names: Any, statistics: Any = None) -> Sight:
    """A row of a batch.

    Args:
        row: the arrays of one example.
        class_names: K names.
        statistics: mean and deviation of each channel, by which the image was normalised and is
            brought back to 0..255; None if it was not.
    """
    pixels = np.asarray(row["image"])
    if statistics is not None:
        mean, std = (np.asarray(value, np.float32) for value in statistics)
        pixels = pixels.astype(np.float32) * std + mean
        if pixels.ndim > 2:
            pixels = (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8)
    if "boxes" in row:
        labels = np.asarray(row["labels"])
        kept = (labels >= 0) & (np.asarray(row["crowd"]) == 0)
        return Sight(pixels, boxes=np.asarray(row["boxes"])[kept], labels=labels[kept])
    label = np.asarray(row["label"]) if "label" in row else None
    if label is not None and label.ndim >= 2:
        return Sight(pixels, mask=label)
    return Sight(pixels, text=_text(row.get("target"), label, class_names))


def _text(target: Any, label: np.ndarray | None, names: Any) -> str:
    if target is not None and np.ndim(target) == 1:
        shares = np.asarray(target)
        order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= 0.005]
        if all(shares[k] > 0.995 for k in order):
            return _list(order, names)
        return ", ".join(f"{shares[k]:.0%} {names[k]}" for k in order)
    if label is not None and label.shape == (len(names),):  # several labels, or none
        return _list(np.flatnonzero(label), names)
    if label is None or label.ndim or not 0 <= int(label) < len(names):
        return ""
    return str(names[int(label)])


def _list(labels: Any, names: Any) -> str:
    return ", ".join(str(names[k]) for k in labels) or "none"


def part(source: data.Source, found: Object, frame: tuple[int, ...], fit: str) -> Captioned:
    """An object, with what is around it.

    Args:
        source: of the record.
        found: the object.
        frame: (height, width) of the network's input; () if it is not known.
        fit: how images are fitted to it; 'letterbox' keeps their proportions.
    """
    whole = stored(source, found.record)
    height, width = whole.pixels.shape[:2]
    left, top, right, bottom = np.array(found.box) * (width, height, width, height)
    numbers: dict[str, Any] = {
        "class": str(source.class_names[found.label]),
        "width": round(right - left, 1),
        "height": round(bottom - top, 1),
        "share": float(f"{found.share:.3g}"),
        "image": whole.size,
    }
    if frame:
        factors = np.array([frame[1] / width, frame[0] / height])
        if fit == "letterbox":
            factors[:] = factors.min()
        numbers["width_seen"] = round((right - left) * factors[0], 1)
        numbers["height_seen"] = round((bottom - top) * factors[1], 1)
    side = max(AROUND * max(right - left, bottom - top), LEAST_PART)
    x0, x1 = _window(left, right, side, width)
    y0, y1 = _window(top, bottom, side, height)
    inner = (left - x0, top - y0, right - x0, bottom - y0)
    mask = None if whole.mask is None else whole.mask[y0:y1, x0:x1]
    sight = Sight(whole.pixels[y0:y1, x0:x1], text=numbers["class"], mask=mask, inner=inner)
    return Captioned(name_of(source, found.record), sight, numbers)


def _window(first: float, last: float, side: float, length: int) -> tuple[int, int]:
    """Start and end of what is shown along an axis, around first..last and within 0..length."""
    side = min(round(side), length)
    start = round((first + last - side) / 2)
    start = min(max(start, 0), length - side)
    return start, start + side
