"""Matching: which object each anchor should predict. Shapes are static, padded and masked.

The objects of an image are padded to M boxes with a mask `valid` [M]. Every function returns
int32 [N]: for each anchor the index of its object, or BACKGROUND, or IGNORED. Padding and broken
boxes (inverted, degenerate, NaN) are never matched; the mask need not exclude the latter.
"""

import jax.numpy as jnp

from cnn_jax import shapes
from cnn_jax.boxes import geometry
from cnn_jax.typing import Array

BACKGROUND = -1  # train as background
IGNORED = -2  # ambiguous: leave out of the loss


def match_by_iou(
    anchors: Array,
    boxes: Array,
    valid: Array,
    *,
    high: float,
    low: float,
    keep_best: bool = True,
) -> Array:
    """Matches each anchor to the object that it overlaps most.

    Ren 2015 (arXiv 1506.01497, section 3.1.2), as in torchvision: RetinaNet has high 0.5 and low
    0.4, region proposals 0.7 and 0.3 (both with keep_best), the second stage 0.5 and 0.5 without.

    Args:
        anchors: [N, 4].
        boxes: [M, 4], the objects.
        valid: bool [M], False for padding.
        high: IoU from which an anchor is matched.
        low: IoU below which it is background; in between it is ignored.
        keep_best: whether the anchors with the highest IoU of all for some object (ties included)
            are matched too, however low it is: each to the object that it overlaps most. Unlike in
            torchvision, the IoU must be above 0.

    Returns:
        int32 [N].

    Raises:
        ValueError: if low exceeds high, or a shape or type is not that above.
    """
    _require_shapes(anchors, boxes, valid)
    if low > high:
        raise ValueError(f"match_by_iou got low={low} above high={high}: give low <= high.")
    if boxes.shape[0] == 0:
        return jnp.full(anchors.shape[0], BACKGROUND, jnp.int32)
    overlaps = _overlaps(anchors, boxes, valid)  # [N, M]
    object_of, best = overlaps.argmax(axis=1).astype(jnp.int32), overlaps.max(axis=1)
    matched = jnp.where(best >= high, object_of, jnp.where(best < low, BACKGROUND, IGNORED))
    if keep_best:
        is_best = (overlaps == overlaps.max(axis=0)) & (overlaps > 0)
        matched = jnp.where(is_best.any(axis=1), object_of, matched)
    return matched


def match_bipartite_then_iou(
    anchors: Array, boxes: Array, valid: Array, *, threshold: float = 0.5
) -> Array:
    """SSD's matching: each object gets its best anchor; other anchors match above a threshold.

    Liu 2016 (arXiv 1512.02325, section 2.2). If one anchor is the best of several objects, the
    last of them gets it, as in torchvision. An object that no anchor overlaps gets none.

    Args:
        anchors, boxes, valid: as for `match_by_iou`.
        threshold: IoU from which an anchor is matched.

    Returns:
        int32 [N], an object or BACKGROUND.
    """
    _require_shapes(anchors, boxes, valid)
    if boxes.shape[0] == 0:
        return jnp.full(anchors.shape[0], BACKGROUND, jnp.int32)
    overlaps = _overlaps(anchors, boxes, valid)  # [N, M]
    object_of, best = overlaps.argmax(axis=1).astype(jnp.int32), overlaps.max(axis=1)
    matched = jnp.where(best >= threshold, object_of, BACKGROUND)
    anchor_of = jnp.where(overlaps.max(axis=0) > 0, overlaps.argmax(axis=0), len(anchors))
    objects = jnp.arange(len(boxes), dtype=jnp.int32)
    forced = jnp.full(len(anchors), BACKGROUND, jnp.int32).at[anchor_of].max(objects, mode="drop")
    return jnp.where(forced >= 0, forced, matched)


def _require_shapes(anchors: Array, boxes: Array, valid: Array) -> None:
    what = "Matching takes anchors [N, 4], boxes [M, 4] and valid [M], which is bool"
    with shapes.wanted(what, anchors=anchors, boxes=boxes, valid=valid) as chex:
        chex.assert_shape([anchors, boxes], (None, 4))
        chex.assert_shape(valid, boxes.shape[:1])
        chex.assert_type(valid, bool)


def _overlaps(anchors: Array, boxes: Array, valid: Array) -> Array:
    """IoU [N, M]; -1 for objects that are padding or broken."""
    usable = valid & geometry.is_proper(boxes)
    return jnp.where(usable, geometry.pairwise_iou(anchors, boxes), -1.0)
