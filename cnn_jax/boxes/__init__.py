"""Axis-aligned boxes (x1, y1, x2, y2) as arrays [..., 4]: geometry, and the parts of detectors.

overlaps = boxes.pairwise_iou(anchors, objects)  # [N, 4], [M, 4] -> [N, M]
kept = boxes.nms.nms(found, scores, threshold=0.5, size=100)

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
