"""Axis-aligned boxes (x1, y1, x2, y2) as arrays [..., 4]: geometry, and the parts of detectors.

>>> import jax.numpy as jnp
>>> from cnn_jax import boxes
>>> found = jnp.array([[0.0, 0, 4, 4], [1.0, 0, 5, 4], [9.0, 9, 12, 12]])
>>> boxes.pairwise_iou(found, found)[0].round(1).tolist()  # [N, 4], [M, 4] -> [N, M]
[1.0, 0.6000000238418579, 0.0]
>>> scores = jnp.array([0.6, 0.9, 0.8])
>>> boxes.nms.nms(found, scores, threshold=0.5, size=2).indices.tolist()
[1, 2]

All are pure functions of static shapes, for jit, vmap and grad; `anchors` are constants in numpy.
"""

from cnn_jax.boxes import anchors, coding, matching, nms, roi_align, sampling
from cnn_jax.boxes.geometry import (
    area,
    clip,
    from_centre,
    giou,
    intersection,
    iou,
    is_proper,
    pairwise_iou,
    to_centre,
)

__all__ = [
    "anchors",
    "area",
    "clip",
    "coding",
    "from_centre",
    "giou",
    "intersection",
    "iou",
    "is_proper",
    "matching",
    "nms",
    "pairwise_iou",
    "roi_align",
    "sampling",
    "to_centre",
]


def __dir__() -> list[str]:
    return __all__
