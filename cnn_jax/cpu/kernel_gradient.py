"""Kernel gradients: one product over all pixels for each tap.

The gradient of a kernel reaches the lowering as a convolution with batch and channels exchanged,
whose window is as large as the image and whose output is as small as the kernel. Read as a
definition it is a poor convolution; read tap by tap it is, for each, one matrix product that
sums over the batch and over every position of the image:

    y[o, :, :] = x[:, positions seen by o, :]^T @ w[:, :, :]      [J, N * pixels] @ [N * pixels, F]

Here x is the layer's input in its own layout [N, *space, J] and w the gradient that arrives from
above, [N, *window, F]; in a Geometry, N is called `channels` and J `batch`.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu.geometry import Geometry, pad, window_slice


def fits(g: Geometry) -> bool:
    return g.batch_groups > 1 or (g.feature_groups == 1 and g.taps > g.positions)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, J], w [N, *window, F] -> [*out, J / groups, F]. Exact up to summation order."""
    groups, rank = g.batch_groups, g.rank
    x = pad(x, g)
    w = w.reshape(*w.shape[:-1], groups, g.features // groups)
    contract = tuple(range(rank + 1))
    dimensions = ((contract, contract), ((rank + 1,), (rank + 1,)))
    taps = []
    for tap in itertools.product(*map(range, g.out)):
        start = [t * s for t, s in zip(tap, g.strides, strict=True)]
        seen = window_slice(x, start, g.window_dilation, g.window)
        seen = seen.reshape(*seen.shape[:-1], groups, g.batch // groups)
        taps.append(lax.dot_general(seen, w, dimensions, **product))  # [groups, J, F]
    y = jnp.moveaxis(jnp.stack(taps), 1, 2)  # [taps, J, groups, F]
    return y.reshape(*g.out, g.batch // groups, g.features)
