"""Which method runs a convolution: a short list of rules over its Geometry."""

from functools import partial

import jax
from jax import lax

from cnn_jax.cpu import (
    depthwise,
    geometry,
    grouped,
    kernel_gradient,
    patches,
    pointwise,
    subpixel,
    winograd,
)
from cnn_jax.cpu.geometry import Geometry


def choose(g: Geometry) -> str | None:
    """The name of a method, or None where XLA's own convolution is as good."""
    if kernel_gradient.fits(g):
        return _choose_gradient(g)
    if subpixel.fits(g):
        return "subpixel"
    if pointwise.fits(g):
        return "pointwise"
    if depthwise.fits(g):
        return "depthwise"
    if winograd.fits(g) and min(g.channels, g.features) >= 16:
        return "winograd"
    if g.feature_groups > 1:
        return "grouped"
    if g.channels >= 32 and max(g.strides, default=1) > 1:
        return "patches"
    if g.channels <= 4 and g.taps <= 16:
        return "patches"
    return None


def _choose_gradient(g: Geometry) -> str | None:
    if depthwise.fits_gradient(g):
        return "depthwise_gradient"
    if winograd.fits_gradient(g) and min(g.batch, g.features) >= 16:
        return "winograd_gradient"
    return "grouped_gradient" if g.batch_groups > 1 else "kernel_gradient"


GRADIENT_METHODS = {
    "depthwise_gradient": depthwise.kernel_gradient,
    "grouped_gradient": grouped.kernel_gradient,
    "kernel_gradient": kernel_gradient.convolve,
    "winograd_gradient": partial(winograd.kernel_gradient, tile=4),
}
METHODS = {
    "winograd": partial(winograd.convolve, tile=4),
    "pointwise": pointwise.convolve,
    "patches": patches.convolve,
    "depthwise": depthwise.convolve,
    "grouped": grouped.convolve,
}


def run(method: str, g: Geometry, x: jax.Array, w: jax.Array, params) -> jax.Array:
    """Convolves by the named method, in the caller's layout."""
    numbers = params["dimension_numbers"]
    product = {
        "precision": params["precision"],
        "preferred_element_type": params["preferred_element_type"],
    }
    if method in GRADIENT_METHODS:
        x, w = geometry.to_gradient_form(x, w, numbers)
        return geometry.from_gradient_form(GRADIENT_METHODS[method](x, w, g, **product), numbers)
    x, w = geometry.to_canonical(x, w, numbers)
    if method == "subpixel":
        dtype = product["preferred_element_type"] or x.dtype
        y = subpixel.convolve(x, w, g, partial(_undilated, g, product), dtype)
    else:
        y = METHODS[method](x, w, g, **product)
    return geometry.from_canonical(y, numbers)


def _undilated(g: Geometry, product, x, w, strides, padding, window_dilation):
    """One phase of a sub-pixel decomposition: it comes back to `choose` as a primitive."""
    space = tuple(range(1, g.rank + 1))
    last_two = (g.rank + 1, g.rank)[:: -1 if g.kernel_transposed else 1]
    numbers = lax.ConvDimensionNumbers(
        (0, g.rank + 1, *space), (*last_two, *range(g.rank)), (0, g.rank + 1, *space)
    )
    return lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        rhs_dilation=window_dilation,
        dimension_numbers=numbers,
        feature_group_count=g.feature_groups,
        **product,
    )
