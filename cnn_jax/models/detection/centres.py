"""FCOS's rule of assignment: which point of a feature map should predict which object.

Tian et al. 2019, arXiv:1904.01355, section 3.1, with the centre sampling of the journal version
(arXiv:2006.09214, section 2.3).
"""

import jax.numpy as jnp

from cnn_jax.typing import Array, Targets


def centres(height: int, width: int, stride: float, *, offset: float = 0.5) -> Array:
    """The positions of a map's cells in the image, row by row: (x, y) in pixels, [P, 2].

    Args:
        height, width: numbers of rows and columns of the map.
        stride: pixels between neighbouring cells.
        offset: position of the first cell, in strides: 0.5 is the middle of its pixels; torchvision
            has 0.
    """
    y, x = jnp.meshgrid(
        (jnp.arange(height) + offset) * stride, (jnp.arange(width) + offset) * stride, indexing="ij"
    )
    return jnp.stack([x, y], axis=-1).reshape(-1, 2)


def distances(points: Array, boxes: Array) -> Array:
    """Distances from points [P, 2] to the four sides of boxes [..., N, 4]: [..., P, N, 4].

    All four are positive if the point is inside.
    """
    x, y = points[:, 0, None], points[:, 1, None]  # [P, 1]
    left, top, right, bottom = (boxes[..., None, :, i] for i in range(4))  # [..., 1, N]
    return jnp.stack([x - left, y - top, right - x, bottom - y], axis=-1)


def match_centres(
    points: Array,
    strides: Array,
    targets: Targets,
    *,
    radius: float,
    lower: Array | float = 0.0,
    upper: Array | float = jnp.inf,
) -> Array:
    """The object of each point: the smallest box around it in which the point is central.

    Args:
        points: [P, 2], (x, y).
        strides: [P], stride of the map of each point.
        targets: [B, N] objects.
        radius: distance from the middle of a box, in strides along both axes, within which a point
            is central.
        lower, upper: [P], bounds of the largest of the four distances, so that each map gets
            objects of its size.

    Returns:
        int32 [B, P], an index into the N objects, or -1.
    """
    boxes = targets.boxes
    sides = distances(points, boxes)  # [B, P, N, 4]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2  # [B, N, 2]
    off_centre = jnp.abs(points[:, None] - middle[:, None]).max(-1)  # [B, P, N]
    largest = sides.max(-1)
    lower, upper = (jnp.broadcast_to(bound, strides.shape)[:, None] for bound in (lower, upper))
    suits = (
        (sides.min(-1) > 0)
        & (off_centre < radius * strides[:, None])
        & (largest > lower)
        & (largest < upper)
        & (targets.labels[:, None] >= 0)
    )
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[:, None]  # [B, 1, N]
    area = jnp.where(suits, area, jnp.inf)
    return jnp.where(suits.any(-1), area.argmin(-1), -1).astype(jnp.int32)
