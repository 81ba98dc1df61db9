"""Dead taps, which meet nothing but padding, are left out before a method is chosen.

A dilated window can be larger than the image. DeepLabV3 (Chen et al. 2017, arXiv 1706.05587,
section 3.3 and figure 4) spreads nine taps 36 pixels apart: on a map of 8 x 8 only the middle
one ever meets a pixel, and the other eight multiply zeros. In the kernel gradient the output has a
position for each tap, and those of dead taps are zero.

For one axis, with stride s, window dilation r and padding before of p, output o and tap k meet
position o * s + k * r - p of the (dilated) image, which has pixels from 0 to its size.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax import jax_internals
from cnn_jax.cpu import kernel_gradient
from cnn_jax.cpu.geometry import Geometry

Ranges = list[tuple[int, int]]


def live(g: Geometry) -> Ranges | None:
    """For each axis the first tap that meets a pixel and the one after the last.

    For kernel gradients, outputs instead of taps. None if every tap may meet a pixel, or none does.
    """
    gradient = kernel_gradient.fits(g)
    ranges, full = [], []
    for i in range(g.rank):
        count, step = g.window[i], g.window_dilation[i]
        others, other_step = g.out[i], g.strides[i]
        if gradient:
            count, step, others, other_step = others, other_step, count, step
        last_pixel = (g.space[i] - 1) * g.base_dilation[i]
        reach, before = (others - 1) * other_step, g.padding[i][0]
        # tap k meets the positions k * step - before + (0 to reach)
        first = max(0, -((before - reach) // -step)) if before > reach else 0
        last = min(count - 1, (last_pixel + before) // step)
        ranges.append((first, last + 1))
        full.append((0, count))
    if ranges == full or any(first >= after for first, after in ranges):
        return None
    return ranges


def convolve(x: jax.Array, w: jax.Array, g: Geometry, ranges: Ranges, params) -> jax.Array:
    """The convolution with its live taps alone, in the caller's layout.

    Exact for finite numbers: an infinite or NaN dead tap does not turn its zeros into NaN.
    """
    _, w_spec, y_spec = params["dimension_numbers"]
    params = {**params, "padding": padding(g, ranges)}
    convolution = jax_internals.primitive("conv_general_dilated")
    if not kernel_gradient.fits(g):
        return convolution.bind(x, w[kept(ranges, w_spec)], **params)
    y = convolution.bind(x, w, **params)
    around = [(0, 0, 0)] * y.ndim
    for axis, (first, after), count in zip(y_spec[2:], ranges, g.out, strict=True):
        around[axis] = (first, count - after, 0)
    return lax.pad(y, jnp.zeros((), y.dtype), around)


def padding(g: Geometry, ranges: Ranges) -> tuple[tuple[int, int], ...]:
    """The padding that live taps (or a kernel gradient's live outputs) see."""
    gradient = kernel_gradient.fits(g)
    steps, counts = (g.strides, g.out) if gradient else (g.window_dilation, g.window)
    axes = zip(g.padding, ranges, steps, counts, strict=True)
    return tuple(
        (low - first * step, high - (count - after) * step)
        for (low, high), (first, after), step, count in axes
    )


def kept(ranges: Ranges, w_spec: Sequence[int]) -> tuple[slice, ...]:
    """What indexes the live taps of a kernel whose axes lie as `w_spec` says."""
    index = [slice(None)] * len(w_spec)
    for axis, (first, after) in zip(w_spec[2:], ranges, strict=True):
        index[axis] = slice(first, after)
    return tuple(index)
