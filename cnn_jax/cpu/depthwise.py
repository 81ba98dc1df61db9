"""One filter a channel: shifted multiply-adds.

A depthwise convolution (Chollet 2017, arXiv 1610.02357; Howard et al. 2017, arXiv 1704.04861)
does one multiply-add per value it reads, so no matrix product helps. Written as a sum of
shifted copies of the input, each scaled channel by channel, XLA fuses it into a single loop whose
innermost axis is the channels: contiguous, vectorised, and each pixel read from cache.
"""

import itertools

import jax
import jax.numpy as jnp

from cnn_jax.cpu.geometry import Geometry, pad, untransposed, window_slice


def fits(g: Geometry) -> bool:
    return g.feature_groups == g.channels and g.batch_groups == 1


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [*window, 1, C * m] -> [N, *out, C * m]; m filters for each channel.

    Exact up to the order of one sum of `taps` terms.
    """
    dtype = product.get("preferred_element_type") or x.dtype
    multiplier = g.features // g.channels
    x = pad(x, g)
    w = untransposed(w, g).reshape(*g.window, g.channels, multiplier).astype(dtype)
    total = None
    for tap in itertools.product(*map(range, g.window)):
        start = [t * d for t, d in zip(tap, g.window_dilation, strict=True)]
        seen = window_slice(x, start, g.strides, g.out).astype(dtype)
        if multiplier == 1:
            term = seen * w[tap][:, 0]
        else:
            term = seen[..., None] * w[tap]  # [N, *out, C, m]
        total = term if total is None else total + term
    return jnp.reshape(total, (*total.shape[: g.rank + 1], g.features))
