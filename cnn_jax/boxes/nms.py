"""Non-maximum suppression with static shapes: what to keep of overlapping detections.

Greedy: take the box of the highest score, drop all that overlap it by more than a threshold, and
go on with the best that is left. The size of the result is fixed beforehand; what is not filled is
padding, and says so.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.boxes import geometry
from cnn_jax.typing import Array


class Kept(NamedTuple):
    """What suppression keeps, in descending order of score, then padding.

    Attributes:
        indices: int32 [size], into the boxes that came; 0 where there is padding.
        valid: bool [size], False where there is padding.
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
    """Keeps at most `size` boxes of which no two overlap by an IoU above the threshold.

    Equal scores are taken in the order they came. Boxes without area are kept (they overlap
    nothing), as torchvision keeps them; exclude them by `valid`. Boxes or scores that are NaN are
    never kept.

    Args:
        boxes: [N, 4] as (x1, y1, x2, y2).
        scores: [N].
        threshold: IoU, 0..1; a box at exactly the threshold stays.
        size: how many to return.
        valid: bool [N], False for padding; all if None.
        labels: int [N]; only boxes of one label suppress each other. One label for all if None.

    Returns:
        Kept, of static shapes [size].
    """
    count = boxes.shape[0]
    if boxes.shape != (count, 4) or scores.shape != (count,):
        raise ValueError(
            f"nms: wanted boxes [N, 4] and scores [N], got {boxes.shape} and {scores.shape}"
        )
    usable = ~(jnp.isnan(boxes).any(axis=-1) | jnp.isnan(scores))
    usable = usable if valid is None else usable & valid
    if count == 0:
        return Kept(jnp.zeros(size, jnp.int32), jnp.zeros(size, bool))
    # Stable, descending, with what is unusable at the end whatever its score.
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
    """bool [N]: what survives, given overlaps [N, N] in descending order of score.

    A box survives if no better box that survives overlaps it. Starting from "all survive" and
    applying that rule until nothing changes settles the first box in one round, and each further
    one as soon as all better ones that overlap it are settled: as many rounds as the longest chain
    of suppressions, usually fewer than ten, where the sequential loop takes N steps.
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
