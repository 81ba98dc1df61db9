"""Pooling over every spatial axis, with the padding of the papers."""

import flax.linen as nn

from cnn_jax.layers.conv import per_axis
from cnn_jax.typing import Array


def max_pool(x: Array, window: int, *, stride: int, padding: int = 0) -> Array:
    """The maximum over windows of x [B, *space, C]. Padding counts as minus infinity."""
    rank = x.ndim - 2
    pads = [(padding, padding)] * rank
    return nn.max_pool(x, per_axis(window, rank), per_axis(stride, rank), padding=pads)


def global_mean(x: Array) -> Array:
    """The mean over all positions: [B, *space, C] -> [B, C]."""
    return x.mean(tuple(range(1, x.ndim - 1)))
