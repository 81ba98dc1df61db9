"""Axis-aligned boxes: conversions, areas, overlaps. Pure functions on arrays [..., 4].

A box is (x1, y1, x2, y2): left, top, right, bottom, in any unit, x to the right and y down. It
covers the plane from x1 to x2, so its width is x2 - x1 (as in COCO and torchvision; the original
VOC code added a pixel).

No value of a coordinate raises an error or a division by zero. An inverted box (x2 < x1 or
y2 < y1) and a degenerate one have area 0 and overlap nothing. So does a box with a NaN: one broken
annotation cannot spoil a batch. `is_proper` finds them.
"""

import jax.numpy as jnp

from cnn_jax import shapes
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
    """Clips boxes to an image. A box outside it becomes degenerate.

    Args:
        boxes: [..., 4].
        width: width of the image: a number, or an array that broadcasts to [...].
        height: height of the image, likewise.
    """
    _require_boxes(boxes)
    limit = jnp.stack([jnp.asarray(v, boxes.dtype) for v in (width, height, width, height)], -1)
    return jnp.clip(boxes, 0, limit)


def is_proper(boxes: Array, *, smallest_side: float = 0.0) -> Array:
    """Whether each box is finite, with both sides longer than `smallest_side`: bool [...]."""
    _require_boxes(boxes)
    finite = jnp.isfinite(boxes).all(axis=-1)
    sides = boxes[..., 2:] - boxes[..., :2]
    return finite & (sides > smallest_side).all(axis=-1)


def area(boxes: Array) -> Array:
    """The area of each box: [..., 4] -> [...]; 0 if it is inverted, degenerate or NaN."""
    _require_boxes(boxes)
    width, height = _sides(boxes[..., :2], boxes[..., 2:])
    return width * height


def intersection(a: Array, b: Array) -> Array:
    """The area that two boxes share: [..., 4] and [..., 4], broadcast -> [...]."""
    _require_boxes(a, b)
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    width, height = _sides(low, high)
    return width * height


def iou(a: Array, b: Array) -> Array:
    """Intersection over union, in 0..1: [..., 4] and [..., 4], broadcast -> [...].

    Two boxes without area give 0, even if they are equal (torchvision gives NaN).
    """
    _require_boxes(a, b)
    shared = _shared(a, b)
    return _ratio(shared, area(a) + area(b) - shared)


def pairwise_iou(a: Array, b: Array) -> Array:
    """Intersection over union of all pairs: [..., N, 4], [..., M, 4] -> [..., N, M]."""
    _require_boxes(a, b)
    return iou(a[..., :, None, :], b[..., None, :, :])


def giou(a: Array, b: Array) -> Array:
    """Generalized IoU, in -1..1: [..., 4] and [..., 4], broadcast -> [...].

    Rezatofighi 2019, arXiv 1902.09630, algorithm 1: IoU minus the empty share of the smallest box
    around both, so that there is a gradient where boxes do not touch.
    """
    _require_boxes(a, b)
    a, b = _without_nan(a), _without_nan(b)
    shared = _shared(a, b)
    union = area(a) + area(b) - shared
    hull = area(_hull(a, b))
    return _ratio(shared, union) - _ratio(hull - union, hull)


def _require_boxes(*boxes: Array) -> None:
    """Raises ValueError unless the last axis of every array holds four coordinates."""
    with shapes.wanted("A box is (x1, y1, x2, y2), so boxes are [..., 4]", boxes=boxes) as chex:
        for some in boxes:
            chex.assert_axis_dimension(some, -1, 4)


def _without_nan(boxes: Array) -> Array:
    """Replaces boxes with a NaN by (0, 0, 0, 0), so that gradients stay finite too."""
    return jnp.where(jnp.isnan(boxes).any(axis=-1, keepdims=True), 0, boxes)


def _sides(low: Array, high: Array) -> tuple[Array, Array]:
    """Width and height [...], both 0 where either is not positive or NaN."""
    sides = high - low
    proper = (sides > 0).all(axis=-1, keepdims=True)  # False for NaN
    sides = jnp.where(proper, sides, 0)
    return sides[..., 0], sides[..., 1]


def _shared(a: Array, b: Array) -> Array:
    """The intersection, but 0 if either box has no area: inverted boxes can seem to overlap."""
    return jnp.where((area(a) > 0) & (area(b) > 0), intersection(a, b), 0)


def _hull(a: Array, b: Array) -> Array:
    low = jnp.minimum(a[..., :2], b[..., :2])
    high = jnp.maximum(a[..., 2:], b[..., 2:])
    return jnp.concatenate([low, high], axis=-1)


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole; 0, with gradients of 0, where the whole is not positive."""
    positive = whole > 0
    return jnp.where(positive, part, 0) / jnp.where(positive, whole, 1)
