"""Groups of channels: one matrix product a group, batched.

(Krizhevsky et al. 2012 split AlexNet over two GPUs so; Xie et al. 2017, arXiv 1611.05431, made it
a design.) Patches are gathered as in `patches`, and the products of all groups run as one
batched product [groups, pixels, taps * c] @ [groups, taps * c, f].
"""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu.geometry import Geometry, untransposed
from cnn_jax.cpu.patches import gather


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, G * c], w [*window, c, G * f] -> [N, *out, G * f]."""
    groups = g.feature_groups
    c, f = g.channels // groups, g.features // groups
    columns = gather(x, g)  # [N, *out, taps, G * c]
    columns = columns.reshape(*columns.shape[:-1], groups, c)
    w = untransposed(w, g).reshape(g.taps, c, groups, f)
    last = columns.ndim - 1
    contract, batch = ((last - 2, last), (0, 1)), ((last - 1,), (2,))
    y = lax.dot_general(columns, w, (contract, batch), **product)  # [G, N, *out, f]
    y = jnp.moveaxis(y, 0, -2)
    return y.reshape(*y.shape[:-2], g.features)
