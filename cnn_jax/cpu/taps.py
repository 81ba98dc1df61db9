"""Wide layers on small maps: one matrix product for each tap of the window.

    y = sum over taps of x[what the tap sees] @ w[tap]        [N * out, C] @ [C, F]

This is the definition in another order. Nothing is gathered, and the kernel, the largest array of
such a layer, is read in place: each product contracts either of its axes. In return y is added to
once per tap. So this is for products that dwarf the sums, with 256 channels and more on both sides.
(The "kn2" of Anderson et al. 2017, arXiv 1709.03395, with the shifts before the product.)
"""

import itertools

import jax

from cnn_jax.cpu.geometry import Geometry, pad, window_slice
from cnn_jax.cpu.onednn import dot_general

WIDE = 256  # channels on both sides


def fits(g: Geometry) -> bool:
    return g.feature_groups == g.batch_groups == 1 and min(g.channels, g.features) >= WIDE


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [*window, C, F] -> [N, *out, F]. Exact up to the order of one sum."""
    x = pad(x, g)
    contract = (((x.ndim - 1,), (int(g.kernel_transposed),)), ((), ()))
    total: jax.Array | None = None
    for tap in itertools.product(*map(range, g.window)):
        start = [t * d for t, d in zip(tap, g.window_dilation, strict=True)]
        seen = window_slice(x, start, g.strides, g.out)
        term = dot_general(seen, w[tap], contract, **product)
        total = term if total is None else total + term
    assert total is not None  # a window has at least one tap
    return total
