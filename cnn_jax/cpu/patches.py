"""Any dense convolution as one matrix product over gathered patches ("im2col").

The window's pixels are put side by side along the channel axis, [N, *out, taps * channels], and
one product with the flattened kernel completes the work (Chellapilla, Puri and Simard 2006, "High
performance convolutional neural networks for document processing"). The gathered array is
`taps / prod(strides)` times the input, so this pays for strided layers and for the first layer,
whose three channels are too few for a product per tap.
"""

import itertools
from collections.abc import Sequence

import jax
from jax import lax

from cnn_jax.cpu.geometry import Geometry, pad, untransposed, window_slice
from cnn_jax.cpu.onednn import dot_general

RUN = 16  # numbers that fill a line of the cache


def gather(x: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C] -> [N, *out, taps * C]: the window of every output pixel."""
    return side_by_side(pad(x, g), g.window, g.window_dilation, g.strides, g.out)


def side_by_side(
    x: jax.Array,
    taps: Sequence[int],
    steps: Sequence[int],
    strides: Sequence[int],
    sizes: Sequence[int],
) -> jax.Array:
    """x [N, *space, C] -> [N, *sizes, taps * C]: what each tap sees, the last axis varying fastest.

    Along each axis tap t sees the pixels t * step + i * stride, i < size. Numbers are moved in runs
    of C. Where those are short, the taps of a row are put side by side first, and whole rows then.
    """
    if x.shape[-1] < RUN:
        for axis in range(len(taps), 0, -1):
            step, stride, size = steps[axis - 1], strides[axis - 1], sizes[axis - 1]
            starts = (tap * step for tap in range(taps[axis - 1]))
            ends = ((a, a + (size - 1) * stride + 1) for a in starts)
            seen = (lax.slice_in_dim(x, *each, stride, axis) for each in ends)
            # with an axis for the taps XLA makes one loop of it, else one for each tap (0.12)
            x = lax.concatenate([lax.expand_dims(v, (v.ndim - 1,)) for v in seen], x.ndim - 1)
            x = x.reshape(*x.shape[:-2], -1)
        return x
    views = []
    for tap in itertools.product(*map(range, taps)):
        start = [t * d for t, d in zip(tap, steps, strict=True)]
        views.append(window_slice(x, start, strides, sizes))
    return lax.concatenate(views, x.ndim - 1)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [*window, C, F] -> [N, *out, F]. Exact up to the order of one sum."""
    columns = gather(x, g)
    w = untransposed(w, g).reshape(g.taps * g.channels, g.features)
    return dot_general(columns, w, (((columns.ndim - 1,), (0,)), ((), ())), **product)
