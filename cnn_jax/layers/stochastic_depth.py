"""Stochastic depth: a residual branch is skipped at random, for each example separately."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.typing import Array


class StochasticDepth(nn.Module):
    """Zeroes a whole example with probability `rate` and scales the others by 1 / (1 - rate).

    The last layer of a residual branch (Huang et al. 2016, arXiv:1603.09382). The scaling keeps
    the expectation, so that evaluation needs none; the paper scales at test time instead. Random
    numbers come from the rng stream 'dropout'.

    Attributes:
        rate: probability of skipping, in [0, 1).
        deterministic: whether to do nothing, as in evaluation.
    """

    rate: float
    deterministic: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, ...] -> [B, ...]
        if self.deterministic or self.rate == 0:
            return x
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(keep, x / (1 - self.rate), jnp.zeros_like(x))


def linear_rates(last: float, count: int) -> list[float]:
    """Probabilities of skipping that rise linearly over `count` blocks, from 0 to `last`.

    The linear decay rule of arXiv:1603.09382 section 4, with 0 for the first block as in
    torchvision's ConvNeXt; networks with another rule compute their own.

    Raises:
        ValueError: if `last` is not in [0, 1).
    """
    if not 0 <= last < 1:
        raise ValueError(f"stochastic_depth_rate={last}: give a rate in [0, 1).")
    return [last * i / max(count - 1, 1) for i in range(count)]
