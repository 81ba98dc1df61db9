"""A fixed number of positives and negatives out of many, at random: what two-stage detectors learn
from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array


class Sampled(NamedTuple):
    """What was drawn, positives first.

    Attributes:
        indices: int32 [size], into the N that came; 0 where there is padding.
        valid: bool [size], False where there was nothing more to draw.
    """

    indices: Array
    valid: Array


def sample_balanced(
    key: Array, positive: Array, negative: Array, *, size: int, share: float
) -> Sampled:
    """Draws without replacement; what positives lack of their share, negatives fill up.

    Girshick 2015 (arXiv 1504.08083, section 2.3), Ren 2015 (arXiv 1506.01497, section 3.1.3).

    Args:
        key: of one picture.
        positive: bool [N].
        negative: bool [N], never where `positive` is; what is neither is never drawn.
        size: how many to draw.
        share: the largest part of them that may be positive.
    """
    chance = jax.random.uniform(key, positive.shape, minval=0.5)
    most = int(size * share)
    positives, taken = _best(jnp.where(positive, chance, 0), most)
    negatives, others = _best(jnp.where(negative, chance, 0), size)
    first = jnp.minimum(taken, most)
    slot = jnp.arange(size)
    indices = jnp.where(
        slot < first,
        positives[jnp.minimum(slot, len(positives) - 1)] if most else 0,
        negatives[jnp.clip(slot - first, 0, len(negatives) - 1)],
    )
    valid = slot < first + jnp.minimum(others, size - first)
    return Sampled(jnp.where(valid, indices, 0).astype(jnp.int32), valid)


def _best(chance: Array, most: int) -> tuple[Array, Array]:
    """The indices of the `most` highest, and how many of all are above 0."""
    _, indices = jax.lax.top_k(chance, min(most, len(chance)))
    return indices, (chance > 0).sum()
