"""Axis-aligned boxes: conversions, areas, overlaps. Pure functions on arrays [..., 4].

A box is (x1, y1, x2, y2): left, top, right, bottom, in any unit, x to the right and y down. It
covers the plane from x1 to x2, so its width is x2 - x1 (COCO and torchvision; the original VOC
code added a pixel).

Whatever comes in, nothing here raises or divides by zero. An inverted box (x2 < x1 or y2 < y1) and
a degenerate one have area 0 and overlap nothing; a box with a NaN has area 0 and overlap 0 too, so
that one broken annotation cannot poison a batch. `is_proper` finds them.
"""

import jax.numpy as jnp

from cnn_jax.typing import Array


def from_centre(boxes: Array) -> Array:
    """(centre x, centre y, width, height) -> (x1, y1, x2, y2): [..., 4] -> [..., 4]."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([centre - size / 2, centre + size / 2], axis=-1)


def to_centre(boxes: Array) -> Array:
    """(x1, y1, x2, y2) -> (centre x, centre y, width, height): [..., 4] -> [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


def clip(boxes: Array, width: float | Array, height: float | Array) -> Array:
    """Cuts boxes off at the borders of a picture. What lies outside becomes degenerate.

    Args:
        boxes: [..., 4].
        width: of the picture; a number, or an array that broadcasts to [...].
        height: likewise.
    """
    limit = jnp.stack([jnp.asarray(v, boxes.dtype) for v in (width, height, width, height)], -1)
    return jnp.clip(boxes, 0, limit)


def is_proper(boxes: Array, *, smallest_side: float = 0.0) -> Array:
    """Whether each box is finite and longer than `smallest_side` on both sides: bool [...]."""
    finite = jnp.isfinite(boxes).all(axis=-1)
    sides = boxes[..., 2:] - boxes[..., :2]
    return finite & (sides > smallest_side).all(axis=-1)


def area(boxes: Array) -> Array:
    """[..., 4] -> [...]; 0 for what is inverted, degenerate or NaN."""
    width, height = _sides(boxes[..., :2], boxes[..., 2:])
    return width * height


def intersection(a: Array, b: Array) -> Array:
    """The area that two boxes share: [..., 4] and [..., 4], broadcast -> [...]."""
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    width, height = _sides(low, high)
    return width * height


def iou(a: Array, b: Array) -> Array:
    """Intersection over union, in 0..1: [..., 4] and [..., 4], broadcast -> [...].

    Two boxes without area have 0, also if they are equal (torchvision gives NaN).
    """
    shared = _shared(a, b)
    return _ratio(shared, area(a) + area(b) - shared)


def pairwise_iou(a: Array, b: Array) -> Array:
    """Intersection over union of each with each: [..., N, 4], [..., M, 4] -> [..., N, M]."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def giou(a: Array, b: Array) -> Array:
    """Generalized IoU, in -1..1: [..., 4] and [..., 4], broadcast -> [...].

    Rezatofighi 2019, arXiv 1902.09630, algorithm 1: IoU minus the empty share of the smallest box
    around both, so that there is a gradient where boxes do not touch.
    """
    a, b = _without_nan(a), _without_nan(b)
    shared = _shared(a, b)
    union = area(a) + area(b) - shared
    hull = area(_hull(a, b))
    return _ratio(shared, union) - _ratio(hull - union, hull)


def _without_nan(boxes: Array) -> Array:
    """Boxes with a NaN become (0, 0, 0, 0), so that gradients stay finite too."""
    return jnp.where(jnp.isnan(boxes).any(axis=-1, keepdims=True), 0, boxes)


def _sides(low: Array, high: Array) -> tuple[Array, Array]:
    """Width and height [...], 0 where either is not positive or anything is NaN."""
    sides = high - low
    proper = (sides > 0).all(axis=-1, keepdims=True)  # False for NaN
    sides = jnp.where(proper, sides, 0)
    return sides[..., 0], sides[..., 1]


def _shared(a: Array, b: Array) -> Array:
    """The intersection, but 0 if either has no area: inverted boxes can seem to overlap."""
    return jnp.where((area(a) > 0) & (area(b) > 0), intersection(a, b), 0)


def _hull(a: Array, b: Array) -> Array:
    low = jnp.minimum(a[..., :2], b[..., :2])
    high = jnp.maximum(a[..., 2:], b[..., 2:])
    return jnp.concatenate([low, high], axis=-1)


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole; 0, with gradients of 0, where the whole is not positive."""
    positive = whole > 0
    return jnp.where(positive, part, 0) / jnp.where(positive, whole, 1)
