"""How a detector's outputs become boxes, and boxes its targets: (x1, y1, x2, y2) [..., 4]."""

import math

import jax.numpy as jnp

from cnn_jax.boxes import geometry
from cnn_jax.typing import Array

# What the coordinates of a target are multiplied by, to make them of one size.
UNIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # RetinaNet, region proposals
SECOND_STAGE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # Fast R-CNN's head, SSD: 1 / (0.1, 0.1, 0.2, 0.2)
LARGEST_LOG = math.log(1000 / 16)  # what a side may be multiplied by: 62.5; Detectron
_SMALLEST_SIDE = 1e-6


def encode(
    boxes: Array, anchors: Array, *, weights: tuple[float, float, float, float] = UNIT_WEIGHTS
) -> Array:
    """Boxes relative to anchors: shifts in sides of the anchor, and logarithms of the sides.

    Girshick 2014 (arXiv 1311.2524, appendix C). The inverse of `decode`. Sides that are not
    positive count as 1e-6, so that the result is finite.

    Args:
        boxes: [..., 4].
        anchors: [..., 4].
        weights: of (x, y, width, height).

    Returns:
        [..., 4].
    """
    anchor, box = geometry.to_centre(anchors), geometry.to_centre(boxes)
    anchor_sides = jnp.maximum(anchor[..., 2:], _SMALLEST_SIDE)
    box_sides = jnp.maximum(box[..., 2:], _SMALLEST_SIDE)
    shift = (box[..., :2] - anchor[..., :2]) / anchor_sides
    stretch = jnp.log(box_sides / anchor_sides)
    return jnp.concatenate([shift, stretch], axis=-1) * jnp.asarray(weights, boxes.dtype)


def decode(
    codes: Array,
    anchors: Array,
    *,
    weights: tuple[float, float, float, float] = UNIT_WEIGHTS,
    largest_log: float = LARGEST_LOG,
) -> Array:
    """The boxes that an output means: [..., 4] relative to anchors [..., 4] -> [..., 4].

    Logarithms are cut off at `largest_log`, so that no output makes an infinite box.
    """
    anchor = geometry.to_centre(anchors)
    codes = codes / jnp.asarray(weights, codes.dtype)
    centre = anchor[..., :2] + codes[..., :2] * anchor[..., 2:]
    sides = anchor[..., 2:] * jnp.exp(jnp.minimum(codes[..., 2:], largest_log))
    return geometry.from_centre(jnp.concatenate([centre, sides], axis=-1))
