"""Non-maximum suppression with static shapes: which of several overlapping detections to keep.

It is greedy: take the box with the highest score, drop all that overlap it by more than a
threshold, and continue with the best of the rest. The size of the result is fixed; a mask tells
boxes from padding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax import shapes
from cnn_jax.boxes import geometry
from cnn_jax.typing import Array


class Kept(NamedTuple):
    """The boxes that are kept, in descending order of score, then padding.

    Attributes:
        indices: int32 [size], indices into the given boxes; 0 for padding.
        valid: bool [size], False for padding.
    """

    indices: Array
    valid: Array


def nms(
    boxes: Array,
    scores: Array,
    *,
    threshold: float,
    size: int,
    valid: Array | None = None,
    labels: Array | None = None,
) -> Kept:
    """Keeps at most `size` boxes, no two of which have an IoU above the threshold.

    Equal scores keep the order of the input. Boxes without area are kept (they overlap nothing),
    as in torchvision; exclude them by `valid`. Boxes or scores that are NaN are never kept.

    Args:
        boxes: [N, 4] as (x1, y1, x2, y2).
        scores: [N].
        threshold: largest IoU, in 0..1, at which both boxes stay.
        size: number of boxes to return.
        valid: bool [N], False for padding; None if there is none.
        labels: int [N]; only boxes with the same label suppress each other. None: all have one.

    Returns:
        Kept, with arrays [size].

    Raises:
        ValueError: if a shape or type is not that above.
    """
    what = "nms takes boxes [N, 4] and, each [N], scores, valid (bool) and labels (int)"
    with shapes.wanted(what, boxes=boxes, scores=scores, valid=valid, labels=labels) as chex:
        chex.assert_shape(boxes, (None, 4))
        count = boxes.shape[0]
        given = [(scores, float), (valid, bool), (labels, int)]
        for array, kind in given:
            if array is not None:
                chex.assert_shape(array, (count,))
                chex.assert_type(array, kind)
    usable = ~(jnp.isnan(boxes).any(axis=-1) | jnp.isnan(scores))
    usable = usable if valid is None else usable & valid
    if count == 0:
        return Kept(jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))
    # Stable and descending, with unusable boxes at the end whatever their scores.
    ranking = jnp.lexsort((jnp.where(usable, -scores, 0), ~usable))
    usable, ordered = usable[ranking], boxes[ranking]
    overlaps = geometry.pairwise_iou(ordered, ordered) > threshold
    if labels is not None:
        ordered_labels = labels[ranking]
        overlaps &= ordered_labels[:, None] == ordered_labels[None, :]
    survives = _greedy(overlaps, usable)
    position = jnp.nonzero(survives, size=size, fill_value=0)[0]
    filled = jnp.arange(size) < survives.sum()
    return Kept(jnp.where(filled, ranking[position], 0).astype(jnp.int32), filled)


def _greedy(overlaps: Array, usable: Array) -> Array:
    """The boxes that survive, bool [N], given overlaps [N, N] in descending order of score.

    A box survives if no better surviving box overlaps it. This rule is applied to all boxes at
    once, beginning with "all survive", until nothing changes. A box is settled one round after the
    better boxes that overlap it. So the number of rounds is the length of the longest chain of
    suppressions, usually below ten; the sequential loop takes N steps.
    """
    better = overlaps & jnp.triu(jnp.ones_like(overlaps), 1)  # [i, j]: i may suppress j

    def unsettled(state: tuple[Array, Array]) -> Array:
        before, now = state
        return (before != now).any()

    def settle(state: tuple[Array, Array]) -> tuple[Array, Array]:
        _, now = state
        return now, usable & ~(better & now[:, None]).any(axis=0)

    nothing = jnp.zeros_like(usable)
    _, survives = jax.lax.while_loop(unsettled, settle, (nothing, usable))
    return survives
