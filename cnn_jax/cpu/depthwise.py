"""Depthwise convolutions, with one filter per channel: shifted multiply-adds.

A depthwise convolution (Chollet 2017, arXiv 1610.02357; Howard et al. 2017, arXiv 1704.04861)
does one multiply-add per value that it reads, so that no matrix product helps. We write it as a sum
of shifted copies of the input, each scaled per channel. XLA fuses that into a single loop with the
channels as innermost axis: contiguous, vectorised, and with each pixel read from cache.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.cpu.geometry import Geometry, pad, untransposed, window_slice


def fits(g: Geometry) -> bool:
    return g.feature_groups == g.channels and g.batch_groups == 1


def fits_gradient(g: Geometry) -> bool:
    return g.batch_groups == g.batch == g.features and g.positions <= 128


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **_) -> jax.Array:
    """x [N, *space, C], w [*window, 1, C * m] -> [N, *out, C * m], with m filters per channel.

    Exact up to the order of one sum of `taps` terms.
    """
    multiplier = g.features // g.channels
    x = pad(x, g)
    w = untransposed(w, g).reshape(*g.window, g.channels, multiplier)
    total: jax.Array | None = None
    for tap in itertools.product(*map(range, g.window)):
        start = [t * d for t, d in zip(tap, g.window_dilation, strict=True)]
        seen = window_slice(x, start, g.strides, g.out)
        if multiplier == 1:
            term = seen * w[tap][:, 0]
        else:
            term = seen[..., None] * w[tap]  # [N, *out, C, m]
        total = term if total is None else total + term
    assert total is not None  # a window has at least one tap
    return jnp.reshape(total, (*total.shape[: g.rank + 1], g.features))


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, **_) -> jax.Array:
    """x [N, *space, C], w [N, *window, C] (gradient of the output) -> [*out, 1, C].

    One loop sums all taps of a kernel row along the image's last axis (a reduction with as many
    results as taps). It reads the gradient once and keeps the sums in registers; its partial sums
    [N, rows, C] are small. A reduction over N, rows and columns at once would leave XLA only C sums
    to share among cores.
    """
    x, last = pad(x, g), g.rank
    rows = []
    for row in itertools.product(*map(range, g.out[:-1])):
        products = []
        for column in range(g.out[-1]):
            start = [t * s for t, s in zip((*row, column), g.strides, strict=True)]
            seen = window_slice(x, start, g.window_dilation, g.window)
            products.append(seen * w)
        zeros = (np.zeros((), x.dtype),)
        sums = lax.reduce(tuple(products), zeros * len(products), _add_each, (last,))
        rows += [s.sum(tuple(range(last))) for s in sums]  # from [N, rows, C]
    return jnp.stack(rows).reshape(*g.out, 1, g.features)


def _add_each(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))
