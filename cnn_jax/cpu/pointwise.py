"""Windows of one pixel: a convolution that is a matrix product.

With a 1x1 window there is nothing to gather. Pixels that a stride skips are dropped first; then
[pixels, channels] @ [channels, features] runs on the processor's matrix kernel. Both gradients
of such a layer are matrix products too: the input gradient arrives here as another one-pixel
window, the kernel gradient at `kernel_gradient`.
"""

import jax

from cnn_jax.cpu.geometry import Geometry, pad, window_slice
from cnn_jax.cpu.onednn import dot_general


def fits(g: Geometry) -> bool:
    return g.taps == 1 and g.feature_groups == g.batch_groups == 1


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [1.., C, F] -> [N, *out, F]. Exact up to the order of one sum."""
    x = window_slice(pad(x, g), (0,) * g.rank, g.strides, g.out)
    w = w.reshape(w.shape[-2:])
    contract = ((x.ndim - 1,), (int(g.kernel_transposed),))
    return dot_general(x, w, (contract, ((), ())), **product)
