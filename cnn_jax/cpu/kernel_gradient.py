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

# The product x^T y runs near the processor's peak only if one side is wide, so the first layer of
# a network, with its three channels, lays its taps side by side.
WIDE, NARROW = 256, 32


def fits(g: Geometry) -> bool:
    return g.batch_groups > 1 or (g.feature_groups == 1 and g.taps > g.positions)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, J], w [N, *window, F] -> [*out, J, F]. Exact up to summation order."""
    x = pad(x, g)
    above = w.reshape(-1, g.features)
    views = []
    for tap in itertools.product(*map(range, g.out)):
        start = [t * s for t, s in zip(tap, g.strides, strict=True)]
        seen = window_slice(x, start, g.window_dilation, g.window)
        views.append(seen.reshape(-1, g.batch))
    together = max(1, WIDE // g.batch) if g.batch < NARROW else 1
    sums = []
    for i in range(0, len(views), together):
        some = views[i : i + together]
        total = gram(lax.concatenate(some, 1), above, **product)  # [taps * J, F]
        sums.append(total.reshape(len(some), g.batch, g.features))
    return lax.concatenate(sums, 0).reshape(*g.out, g.batch, g.features)


def gram(x: jax.Array, y: jax.Array, **product) -> jax.Array:
    """x [T, J], y [T, F] -> x^T y [J, F], the wider operand on the right: the faster way round."""
    return batched_gram(x[None], y[None], **product)[0]


def batched_gram(x: jax.Array, y: jax.Array, **product) -> jax.Array:
    """x [B, T, J], y [B, T, F] -> x^T y [B, J, F].

    The sum runs over the rows of both operands: one contracted axis, because XLA would
    rearrange operands with several.
    """
    dimensions = (((1,), (1,)), ((0,), (0,)))
    if x.shape[-1] > y.shape[-1]:
        return jnp.swapaxes(lax.dot_general(y, x, dimensions, **product), 1, 2)
    return lax.dot_general(x, y, dimensions, **product)
