"""Box coding: boxes (x1, y1, x2, y2) [..., 4] to a detector's regression targets, and back."""

import math

import jax.numpy as jnp

from cnn_jax import shapes
from cnn_jax.boxes import geometry
from cnn_jax.typing import Array

# Factors of the four coordinates of a target, which give them a similar variance.
UNIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # RetinaNet, region proposals
SECOND_STAGE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # Fast R-CNN's head, SSD: 1 / (0.1, 0.1, 0.2, 0.2)
LARGEST_LOG = math.log(1000 / 16)  # a side grows by a factor of at most 62.5; Detectron
_SMALLEST_SIDE = 1e-6


def encode(
    boxes: Array, anchors: Array, *, weights: tuple[float, float, float, float] = UNIT_WEIGHTS
) -> Array:
    """Encodes boxes relative to anchors: shifts in units of the anchor's sides, and log ratios.

    Girshick 2014 (arXiv 1311.2524, appendix C). The inverse of `decode`. Sides that are not
    positive count as 1e-6, so that the result is finite.

    Args:
        boxes: [..., 4].
        anchors: [..., 4].
        weights: factors of (x, y, width, height).

    Returns:
        [..., 4].
    """
    with shapes.wanted(
        "encode takes boxes and anchors [..., 4]", boxes=boxes, anchors=anchors
    ) as chex:
        chex.assert_axis_dimension(boxes, -1, 4)
        chex.assert_axis_dimension(anchors, -1, 4)
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
) -> Array:
    """Decodes outputs [..., 4] relative to anchors [..., 4] to boxes [..., 4].

    Logarithms are capped at LARGEST_LOG, so that no output makes an infinite box.
    """
    with shapes.wanted(
        "decode takes codes and anchors [..., 4]", codes=codes, anchors=anchors
    ) as chex:
        chex.assert_axis_dimension(codes, -1, 4)
        chex.assert_axis_dimension(anchors, -1, 4)
    anchor = geometry.to_centre(anchors)
    codes = codes / jnp.asarray(weights, codes.dtype)
    centre = anchor[..., :2] + codes[..., :2] * anchor[..., 2:]
    sides = anchor[..., 2:] * jnp.exp(jnp.minimum(codes[..., 2:], LARGEST_LOG))
    return geometry.from_centre(jnp.concatenate([centre, sides], axis=-1))
