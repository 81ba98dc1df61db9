"""Balanced sampling: the positives and negatives that a two-stage detector learns from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax import shapes
from cnn_jax.typing import Array


class Sampled(NamedTuple):
    """The sample, positives first.

    Attributes:
        indices: int32 [size], indices into the N candidates; 0 for padding.
        valid: bool [size], False for padding, where there was nothing more to draw.
    """

    indices: Array
    valid: Array


def sample_balanced(
    key: Array, positive: Array, negative: Array, *, size: int, share: float
) -> Sampled:
    """Draws without replacement; if there are too few positives, negatives fill their places.

    Girshick 2015 (arXiv 1504.08083, section 2.3), Ren 2015 (arXiv 1506.01497, section 3.1.3).

    Args:
        key: random key of one image.
        positive: bool [N].
        negative: bool [N], False wherever `positive` is True. A candidate that is neither is never
            drawn.
        size: number of candidates to draw.
        share: largest fraction of positives among them.

    Raises:
        ValueError: if a shape or type is not that above.
    """
    what = "sample_balanced takes positive and negative, both bool [N]"
    with shapes.wanted(what, positive=positive, negative=negative) as chex:
        chex.assert_rank(positive, 1)
        chex.assert_equal_shape([positive, negative])
        chex.assert_type([positive, negative], bool)
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
    """The indices of the `most` highest values, and the number of all that are above 0."""
    _, indices = jax.lax.top_k(chance, min(most, len(chance)))
    return indices, (chance > 0).sum()
