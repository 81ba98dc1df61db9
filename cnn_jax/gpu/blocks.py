"""Strided convolutions of images with few channels: blocks of pixels become channels first.

cuDNN's matrix units want eight channels or more, and it pads the three of a colour image. A stride
of 2 meets the image in blocks of 2x2 pixels. With the pixels of a block side by side ("space to
depth"), 3 channels are 12, and a window of 7x7 with stride 2 is one of 4x4 blocks without strides.
The kernel has a row and a column of zeros more, which change nothing.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import kernel_gradient, phases
from cnn_jax.cpu.geometry import Geometry

MOST_CHANNELS = 4  # of the image: with more of them cuDNN has enough


def fits(g: Geometry) -> bool:
    """Whether it is a strided layer on few channels, or the kernel gradient of one."""
    steps, others = _steps(g)
    groups = g.feature_groups * g.batch_groups
    plain = max(*others, *g.base_dilation, groups) == 1 and not g.kernel_transposed
    channels = g.batch if kernel_gradient.fits(g) else g.channels
    return plain and max(steps) > 1 and channels <= MOST_CHANNELS


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, C], w [*window, C, F] -> [N, *out, F]. Exact up to summation order."""
    steps, _ = _steps(g)
    taps = _blocks(g.window, steps)
    sizes = [n + k - 1 for n, k in zip(g.out, taps, strict=True)]
    x = _split(x, steps, sizes, [lo for lo, _ in g.padding])
    return _convolve(x, _split_kernel(w, steps, taps), g.rank, product["precision"])


def gradient(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, J], w [N, *window, F] -> [*out, J, F]. Exact up to summation order."""
    steps, _ = _steps(g)
    taps = _blocks(g.out, steps)
    sizes = [n + k - 1 for n, k in zip(g.window, taps, strict=True)]
    x = _split(x, steps, sizes, [lo for lo, _ in g.padding])
    kernel = jax.ShapeDtypeStruct((*taps, x.shape[-1], g.features), x.dtype)
    transposed = jax.linear_transpose(
        lambda kernel: _convolve(x, kernel, g.rank, product["precision"]), kernel
    )
    (y,) = transposed(w)
    return _join_kernel(y, steps, g.batch)[tuple(map(slice, g.out))]


def _convolve(x: jax.Array, w: jax.Array, rank: int, precision) -> jax.Array:
    space = tuple(range(1, rank + 1))
    last = rank + 1
    numbers = lax.ConvDimensionNumbers(
        (0, last, *space), (last, rank, *range(rank)), (0, last, *space)
    )
    return lax.conv_general_dilated(
        x, w, (1,) * rank, [(0, 0)] * rank, dimension_numbers=numbers, precision=precision
    )


def _steps(g: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and window dilation of the layer; its kernel gradient has them exchanged."""
    both = g.strides, g.window_dilation
    return both[::-1] if kernel_gradient.fits(g) else both


def _blocks(pixels: tuple[int, ...], steps: tuple[int, ...]) -> list[int]:
    return [-(-n // step) for n, step in zip(pixels, steps, strict=True)]


def _split(x: jax.Array, steps, sizes, before=None) -> jax.Array:
    """x [N, *space, C] -> [N, *sizes, prod(steps) * C]: each block's pixels as channels."""
    apart = phases.split(x, steps, sizes, before).reshape(-1, x.shape[0], *sizes, x.shape[-1])
    return jnp.moveaxis(apart, 0, -2).reshape(x.shape[0], *sizes, -1)


def _split_kernel(w: jax.Array, steps, taps) -> jax.Array:
    """w [*window, C, F] -> [*taps, prod(steps) * C, F]."""
    *window, channels, features = w.shape
    w = _split(w.reshape(1, *window, channels * features), steps, taps)
    return w.reshape(*taps, -1, features)


def _join_kernel(y: jax.Array, steps: tuple[int, ...], channels: int) -> jax.Array:
    """y [*taps, prod(steps) * C, F] -> [*(taps * steps), C, F]."""
    rank, features = len(steps), y.shape[-1]
    y = y.reshape(*y.shape[:rank], *steps, channels * features)
    y = lax.transpose(y, (*range(rank, 2 * rank), *range(rank), 2 * rank))
    y = phases.join(jnp.expand_dims(y, rank), rank)[0]
    return y.reshape(*y.shape[:-1], channels, features)
