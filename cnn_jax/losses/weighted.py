"""Sums of weighted terms, with which every loss ends."""

import jax.numpy as jnp

from cnn_jax.typing import Array, Mean


def weighted_mean(values: Array, weight: Array) -> Mean:
    """The mean of values [...] with weights [...]: what a loss returns.

    Args:
        values: the loss of each example or pixel. Where the weight is 0 it may be anything.
        weight: 0 or more, of the same shape; 0 for what does not count, such as padding.
    """
    weight = weight.astype(values.dtype)
    # where, not a product: the padding may hold anything, and 0 * inf is not 0
    return Mean(total=jnp.where(weight > 0, values * weight, 0).sum(), weight=weight.sum())


def at_least_float32(x: Array) -> Array:
    """x itself, or in float32 if its own type has fewer bits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
