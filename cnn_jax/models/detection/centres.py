"""Which point of a feature map has to find which object: FCOS's rule.

Tian et al. 2019, arXiv:1904.01355, section 3.1, with the centre sampling of the journal version
(arXiv:2006.09214, section 2.3).
"""

import jax.numpy as jnp

from cnn_jax.typing import Array, Targets


def centres(height: int, width: int, stride: float, *, offset: float = 0.5) -> Array:
    """Where the cells of a map lie in the picture, row by row: (x, y) in pixels, [P, 2].

    Args:
        stride: pixels from a cell to the next.
        offset: of the first one, in strides: 0.5 is the middle of its pixels. torchvision has 0.
    """
    y, x = jnp.meshgrid(
        (jnp.arange(height) + offset) * stride, (jnp.arange(width) + offset) * stride, indexing="ij"
    )
    return jnp.stack([x, y], axis=-1).reshape(-1, 2)


def distances(points: Array, boxes: Array) -> Array:
    """From points [P, 2] to the four sides of boxes [..., N, 4]: [..., P, N, 4].

    Positive where the point is inside.
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
    """The object of each point: the smallest box around it that it is central to.

    Args:
        points: [P, 2], (x, y).
        strides: [P], of the map that each point belongs to.
        targets: [B, N] objects.
        radius: a point is central within this many strides of the middle, along both axes.
        lower, upper: [P]; the largest of the four distances must lie between them, so that each
            map has objects of its size.

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
