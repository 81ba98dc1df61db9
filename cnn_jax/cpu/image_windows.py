"""Kernel gradients as forward convolutions, whose window is the whole image.

The gradient of a kernel correlates the layer's input with the gradient that arrives from above: it
*is* a convolution, with a window as large as the image and an output as small as the kernel. XLA's
convolutions are poor at that; oneDNN's, written for windows of any size, are not, if each axis is
given the part that its kernels want:

- depthwise, [H, W, C] of one example with a window [H, W] for each channel is again a depthwise
  convolution;
- otherwise the sum over examples is the sum over a convolution's channels, and the channels of x
  are positions side by side (a window of 1 does not mix them), so that the inner product is one
  of matrices: [channels of x, examples] @ [examples, channels from above].

Each tap of the kernel reads both arrays once, so that they are taken in parts that stay in the
cache: rows of the image, or examples. Where examples are fewer than a product wants, several parts
stand in for one of more examples.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import onednn
from cnn_jax.cpu.geometry import Geometry, pad
from cnn_jax.cpu.grouped import diagonal, merged

EXAMPLES, PART = 32, 2**21  # examples of a product; bytes of a part


def fits(g: Geometry) -> bool:
    """Whether `kernel_gradient` takes it: an undilated image of one or two axes."""
    return 1 <= g.rank <= 2 and max(g.base_dilation) == 1


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, **_) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] (from above) -> [*out, c, G * f].

    Exact up to the order of one sum; a non-finite channel may reach all of its block of groups.
    """
    x, reach = pad(x, g), []
    for n, k, s, d in zip(g.out, g.window, g.strides, g.window_dilation, strict=True):
        reach.append((n - 1) * s + (k - 1) * d + 1)  # what lies behind, a stride skips
    x = x[(slice(None), *map(slice, reach))]
    if g.batch_groups == g.batch == g.features:
        return _depthwise(x, w, g)
    return _by_rows(x, w, g) if g.batch_groups == 1 else _by_channels(x, w, g)


def _depthwise(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    def add(i, total):
        image = lax.dynamic_slice_in_dim(x, i, 1)
        window = lax.dynamic_index_in_dim(w, i, keepdims=False)[..., None, :]
        return total + onednn.convolution(
            image, window, g.strides, ((0, 0),) * g.rank, g.window_dilation, g.batch
        )

    zeros = jnp.zeros((1, *g.out, g.features), x.dtype)
    return jnp.moveaxis(lax.fori_loop(0, g.channels, add, zeros), 0, -2)


def _by_rows(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """`_by_channels` over parts of the window's rows, one after the other, and their sum."""
    rows, step = g.window[0], g.window_dilation[0]
    row_bytes = 4 * w.size // rows + 4 * x.size * step // x.shape[1]
    side_by_side = max(1, min(EXAMPLES // g.channels, rows))
    height = min(max(1, PART // (row_bytes * side_by_side)), -(-rows // side_by_side))
    together = height * side_by_side
    parts = -(-rows // together)
    if parts * together > rows:  # a last part that is not full meets zeros
        more = parts * together - rows
        w = lax.pad(w, w.dtype.type(0), [(0, more if a == 1 else 0, 0) for a in range(w.ndim)])
        more *= step
        x = lax.pad(x, x.dtype.type(0), [(0, more if a == 1 else 0, 0) for a in range(x.ndim)])
    seen = (g.out[0] - 1) * g.strides[0] + (height - 1) * step + 1  # rows of x for one part
    part = g._replace(channels=g.channels * side_by_side, window=(height, *g.window[1:]))

    def add(i, total):
        first = [i * together + j * height for j in range(side_by_side)]
        images = [lax.dynamic_slice_in_dim(x, row * step, seen, 1) for row in first]
        windows = [lax.dynamic_slice_in_dim(w, row, height, 1) for row in first]
        return total + _by_channels(lax.concatenate(images, 0), lax.concatenate(windows, 0), part)

    return lax.fori_loop(0, parts, add, jnp.zeros((*g.out, g.batch, g.features), x.dtype))


def _by_channels(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] -> [*out, c, G * f]."""
    merge = merged(g.batch_groups, g.batch // g.batch_groups)
    blocks = g.batch_groups // merge
    x = x.reshape(*x.shape[:-1], blocks, g.batch // blocks)
    x = lax.transpose(x, (*range(1, g.rank + 1), g.rank + 2, g.rank + 1, 0))
    x = x.reshape(1, *x.shape[:-2], blocks * g.channels)  # [1, *space, c, blocks * N]
    w = jnp.moveaxis(w, 0, -2)[(slice(None),) * g.rank + (None,)]  # [*window, 1, N, F]
    y = onednn.convolution(
        x, w, (*g.strides, 1), ((0, 0),) * (g.rank + 1), (*g.window_dilation, 1), blocks
    )
    y = y.reshape(*g.out, g.batch // blocks, blocks, g.features // blocks)
    return diagonal(jnp.moveaxis(y, -2, -3), merge)
