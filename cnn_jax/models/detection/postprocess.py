"""From scores of every class at every place to a short list of boxes of fixed length."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.boxes.nms import nms
from cnn_jax.typing import Array, Detections

SEQUENTIAL = 1024  # number of candidates from which images are handled one after the other
CLASSES_AT_ONCE = 16  # each needs memory for the overlaps of its candidates with each other


def suppress(
    boxes: Array,
    scores: Array,
    size: tuple[int, int],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    candidates: int = 400,
    level_sizes: Sequence[int] = (),
) -> Detections:
    """Keeps the best boxes; of boxes of one class that overlap, only the best one.

    Args:
        boxes: [B, P, 4], or [B, P, K, 4] with a separate box for each class.
        scores: [B, P, K] in 0..1.
        size: (height, width) of the image, to which the boxes are clipped.
        score_threshold: score that a detection must exceed.
        iou_threshold: largest IoU with a better box of the same class.
        max_detections: number M of detections.
        candidates: number of best (place, class) pairs of each level that take part.
        level_sizes: number of places of each level, P in all; () for one level.

    Returns:
        [B, M] detections, best first.
    """

    sizes = level_sizes or (boxes.shape[1],)

    def one(example: tuple[Array, Array]) -> Detections:
        place, label, best = _candidates(example[1], candidates, sizes)
        chosen = example[0][place] if boxes.ndim == 3 else example[0][place, label]
        height, width = size
        chosen = box_ops.clip(chosen, width, height)  # [C, 4]
        kept, found = nms(
            chosen,
            best,
            threshold=iou_threshold,
            size=max_detections,
            valid=best > score_threshold,
            labels=label,
        )
        return Detections(
            boxes=jnp.where(found[:, None], chosen[kept], 0.0),
            scores=jnp.where(found, best[kept], 0.0),
            labels=jnp.where(found, label[kept], -1).astype(jnp.int32),
        )

    # The overlaps of all pairs of candidates are [C, C] for each image.
    if candidates * len(sizes) > SEQUENTIAL:
        return jax.lax.map(one, (boxes, scores))
    return jax.vmap(one)((boxes, scores))


def _candidates(scores: Array, count: int, sizes: Sequence[int]) -> tuple[Array, Array, Array]:
    """Place, class and score of the best of each level, given scores [P, K]: each [C]."""
    classes, start, found = scores.shape[1], 0, []
    for size in sizes:
        best, flat = jax.lax.top_k(
            scores[start : start + size].reshape(-1), min(count, size * classes)
        )
        found.append((start + flat // classes, flat % classes, best))
        start += size
    place, label, best = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
    return place, label, best


def suppress_by_class(
    boxes: Array,
    scores: Array,
    size: tuple[int, int],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    candidates: int,
    smallest_side: float = 0.0,
) -> Detections:
    """Like `suppress`, but the best candidates of each class take part.

    Args:
        boxes: [B, P, 4], or [B, P, K, 4] with a separate box for each class.
        candidates: number of best places of each class that take part.
        smallest_side: least side of a detection, in pixels.
        scores, size, score_threshold, iou_threshold, max_detections: as for `suppress`.

    Returns:
        [B, M] detections, best first.
    """
    height, width = size
    classes = scores.shape[-1]
    boxes = box_ops.clip(boxes, width, height)

    def one_class(example: tuple[Array, Array]) -> tuple[Array, Array]:
        own, score = example  # [P, 4], [P]
        best, place = jax.lax.top_k(score, min(candidates, len(score)))
        own = own[place]
        real = (best > score_threshold) & ((own[:, 2:] - own[:, :2]) >= smallest_side).all(-1)
        kept, found = nms(
            own, best, threshold=iou_threshold, size=min(max_detections, len(best)), valid=real
        )
        return own[kept], jnp.where(found, best[kept], 0.0)

    def one(example: tuple[Array, Array]) -> Detections:
        own, score = example  # [P, 4] or [P, K, 4], [P, K]
        by_class = jnp.moveaxis(own, 1, 0) if own.ndim == 3 else jnp.stack([own] * classes)
        found, best = jax.lax.map(one_class, (by_class, score.T), batch_size=CLASSES_AT_ONCE)
        each = best.shape[1]
        best, order = jax.lax.top_k(
            jnp.pad(best.reshape(-1), (0, max(max_detections - best.size, 0))), max_detections
        )
        real = best > 0
        order = jnp.where(real, order, 0)
        return Detections(
            boxes=jnp.where(real[:, None], found.reshape(-1, 4)[order], 0.0),
            scores=best,
            labels=jnp.where(real, order // each, -1).astype(jnp.int32),
        )

    return jax.lax.map(one, (boxes, scores))
