"""Any dense convolution as one matrix product over gathered patches ("im2col").

The window's pixels are put side by side along the channel axis, [N, *out, taps * channels], and
one product with the flattened kernel completes the work (Chellapilla, Puri and Simard 2006, "High
performance convolutional neural networks for document processing"). The gathered array is
`taps / prod(strides)` times the input, so this pays for strided layers and for the first layer,
whose three channels are too few for a product per tap.
"""

import itertools

import jax
from jax import lax

from cnn_jax.cpu.geometry import Geometry, pad, untransposed, window_slice
from cnn_jax.cpu.onednn import dot_general


def gather(x: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C] -> [N, *out, taps, C]: the window of every output pixel."""
    x = pad(x, g)
    views = []
    for tap in itertools.product(*map(range, g.window)):
        start = [t * d for t, d in zip(tap, g.window_dilation, strict=True)]
        views.append(window_slice(x, start, g.strides, g.out))
    return lax.concatenate([v[..., None, :] for v in views], g.rank + 1)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [*window, C, F] -> [N, *out, F]. Exact up to the order of one sum."""
    columns = gather(x, g)
    columns = columns.reshape(*columns.shape[:-2], g.taps * g.channels)
    w = untransposed(w, g).reshape(g.taps * g.channels, g.features)
    return dot_general(columns, w, (((columns.ndim - 1,), (0,)), ((), ())), **product)
