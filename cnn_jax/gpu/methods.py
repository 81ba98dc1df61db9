"""The methods that a convolution may have on a GPU besides XLA's own, in JAX's operations.

They are those of `cnn_jax.cpu` without the ones that are about a processor's caches and vectors.
Operands stay in half precision, so that products run on the matrix units, and sums are taken in
float32; depthwise convolutions multiply in float32 too, which is free within one fused loop.

    subpixel    transposed convolutions, and input gradients of strided ones: a phase at a time
    taps        one product for each tap of the window
    gradient    kernel gradients: one product over all pixels for each tap
    depthwise   shifted multiply-adds; depthwise_gradient the same for the kernel
    grouped     batched products over groups; grouped_gradient the same for the kernel
    phases      dilated convolutions: the pixels of one phase are a smaller image
    blocks      strided ones of few channels: a block of pixels becomes the channels of one;
                blocks_gradient the same for the kernel
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax.cpu import (
    choose,
    depthwise,
    geometry,
    grouped,
    kernel_gradient,
    phases,
    subpixel,
    taps,
)
from cnn_jax.cpu.geometry import Geometry
from cnn_jax.gpu import blocks

# Each tap is an operation of its own: with more of them a program takes long to compile
MOST_TAPS = 128


def candidates(g: Geometry) -> tuple[str, ...]:
    """The names of the methods that can do a convolution; () for one that is left to XLA."""
    if g.rank == 0:
        return ()
    if kernel_gradient.fits(g):
        if depthwise.fits_gradient(g):
            return ("depthwise_gradient",)
        found = ["blocks_gradient"] if blocks.fits(g) else []
        if g.positions <= MOST_TAPS:
            found.append("grouped_gradient" if g.batch_groups > 1 else "gradient")
        return tuple(found)
    if g.batch_groups > 1:
        return ()
    found = []
    if subpixel.fits(g):
        found.append("subpixel")
    if g.taps <= MOST_TAPS:
        if depthwise.fits(g):
            found.append("depthwise")
        elif g.feature_groups > 1:
            found.append("grouped")
        elif max(g.base_dilation) == 1:
            found.append("taps")
    if phases.fits(g):
        found.append("phases")
    if blocks.fits(g):
        found.append("blocks")
    return tuple(found)


def run(method: str, g: Geometry, params: dict[str, Any], x: jax.Array, w: jax.Array) -> jax.Array:
    """Convolves by the named method, in the caller's layout and dtype.

    Args:
        method: one of `candidates(g)`.
        params: those of the primitive `conv_general_dilated`.
        x, w: its operands.
    """
    numbers = params["dimension_numbers"]
    dtype = jnp.dtype(params["preferred_element_type"] or x.dtype)
    sums = jnp.promote_types(jnp.promote_types(x.dtype, dtype), jnp.float32)
    product = {"precision": params["precision"], "preferred_element_type": sums}
    gradient = method in GRADIENTS
    move, back = (
        (geometry.to_gradient_form, geometry.from_gradient_form)
        if gradient
        else (geometry.to_canonical, geometry.from_canonical)
    )
    if method in ("depthwise", "depthwise_gradient"):
        x, w = x.astype(sums), w.astype(sums)
    x, w = move(x, w, numbers)
    if method in ("subpixel", "phases"):
        # cuDNN sums half precision in float32 and rounds once; a convolution of float32 that gives
        # float32 is one it has kernels for, one of bfloat16 that gives float32 is not
        plain = partial(choose.undilated, g, params["precision"], sums)
        if method == "subpixel":
            y = subpixel.convolve(x, w, g, plain)
        else:
            small = phases.reduced(g)
            apart = phases.split_operands(x, w, g)
            y = plain(*apart, small.strides, small.padding, small.window_dilation)
            y = phases.join_result(y, g)
    else:
        y = (GRADIENTS if gradient else FORWARD)[method](x, w, g, **product)
    return back(y, numbers).astype(dtype)


FORWARD: dict[str, Callable[..., jax.Array]] = {
    "taps": taps.convolve,
    "depthwise": depthwise.convolve,
    "grouped": grouped.convolve,
    "blocks": blocks.convolve,
}
GRADIENTS: dict[str, Callable[..., jax.Array]] = {
    "gradient": kernel_gradient.convolve,
    "depthwise_gradient": depthwise.kernel_gradient,
    "grouped_gradient": grouped.kernel_gradient,
    "blocks_gradient": blocks.gradient,
}
