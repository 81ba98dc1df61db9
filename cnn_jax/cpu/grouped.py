"""Groups of channels: batched matrix products over blocks of groups.

(Krizhevsky et al. 2012 split AlexNet over two GPUs in this way; Xie et al. 2017, arXiv 1611.05431,
made it a design.) Each group is a small dense convolution, often of 4 to 32 channels. That is too
narrow for the processor's matrix kernel, which needs several vectors of 8 or 16 numbers. So
neighbouring groups are merged into blocks of at least `WIDTH` channels with a block-diagonal
kernel: some multiplications by zero, in exchange for products of full width. For kernel gradients
the whole product of a block is computed and its diagonal kept.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.cpu.geometry import Geometry, pad, untransposed, window_slice
from cnn_jax.cpu.kernel_gradient import batched_gram
from cnn_jax.cpu.onednn import dot_general
from cnn_jax.cpu.patches import gather

WIDTH = 16  # channels of a block: a vector of AVX-512


def merged(groups: int, channels: int) -> int:
    """Number of groups of `channels` in a block: the least that divides `groups`, if any does."""
    divisors = (s for s in range(1, groups + 1) if groups % s == 0)
    return next(s for s in divisors if s * channels >= WIDTH or s == groups)


def block_diagonal(w: jax.Array, groups: int, merge: int) -> jax.Array:
    """w [*window, c, G * f] -> [*window, G / merge, merge * c, merge * f], zero between groups."""
    *window, c, features = w.shape
    f = features // groups
    w = w.reshape(*window, c, groups // merge, merge, f)
    w = jnp.moveaxis(w, -4, -3)[..., None, :, :, :]  # [*window, blocks, 1, c, merge, f]
    same = jnp.asarray(np.eye(merge)[:, None, :, None], w.dtype)
    return (w * same).reshape(*window, groups // merge, merge * c, merge * f)


def diagonal(y: jax.Array, merge: int) -> jax.Array:
    """Inverse of `block_diagonal`: y [.., blocks, merge * c, merge * f] -> [.., c, G * f]."""
    *lead, blocks, rows, columns = y.shape
    c, f = rows // merge, columns // merge
    y = y.reshape(*lead, blocks, merge, c, merge, f)
    parts = [y[..., i, :, i, :] for i in range(merge)]  # each [.., blocks, c, f]
    y = jnp.moveaxis(jnp.stack(parts, -2), -4, -3)  # [.., c, blocks, merge, f]
    return y.reshape(*lead, c, blocks * merge * f)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, G * c], w [*window, c, G * f] -> [N, *out, G * f].

    Exact up to the order of one sum. A zero of the block-diagonal kernel times an infinity or NaN
    is NaN, so that a non-finite channel affects the outputs of its whole block.
    """
    merge = merged(g.feature_groups, g.channels // g.feature_groups)
    w = block_diagonal(untransposed(w, g), g.feature_groups, merge)
    *_, blocks, width, features = w.shape
    narrow = g._replace(channels=width, feature_groups=1)
    # [blocks, N, *out, taps * c]
    columns = jax.vmap(lambda block: gather(block, narrow))(to_blocks(x, blocks))
    w = jnp.moveaxis(w, -3, 0).reshape(blocks, g.taps * width, features)
    contract = (((columns.ndim - 1,), (1,)), ((0,), (0,)))
    return from_blocks(dot_general(columns, w, contract, **product))


def to_blocks(x: jax.Array, blocks: int) -> jax.Array:
    """x [N, *space, blocks * c] -> [blocks, N, *space, c].

    Blocks go first because a batched product needs its batch there: otherwise XLA would move each
    of the many arrays that are made from x, instead of x. They have a separate axis, so that a
    batch on several devices stays in place.
    """
    x = x.reshape(*x.shape[:-1], blocks, x.shape[-1] // blocks)
    return jnp.moveaxis(x, -2, 0)


def from_blocks(y: jax.Array) -> jax.Array:
    """The inverse of `to_blocks`: y [blocks, N, *out, f] -> [N, *out, blocks * f]."""
    y = jnp.moveaxis(y, 0, -2)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] (gradient of the output) -> [*out, c, G * f]."""
    merge = merged(g.batch_groups, g.batch // g.batch_groups)
    blocks = g.batch_groups // merge
    x, above = pad(x, g), to_blocks(w, blocks)
    taps = []
    for tap in itertools.product(*map(range, g.out)):
        start = [t * s for t, s in zip(tap, g.strides, strict=True)]
        seen = to_blocks(window_slice(x, start, g.window_dilation, g.window), blocks)
        each = (blocks, g.channels * g.taps, -1)
        taps.append(batched_gram(seen.reshape(each), above.reshape(each), **product))
    return diagonal(jnp.stack(taps).reshape(*g.out, *taps[0].shape), merge)
