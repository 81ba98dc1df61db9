"""Strided convolutions of images with few channels: blocks of pixels become channels first.

cuDNN's matrix units want eight channels or more, and it pads the three of a colour image. A stride
of 2 meets the image in blocks of 2x2 pixels. With the pixels of a block side by side ("space to
depth"), 3 channels are 12, and a window of 7x7 with stride 2 is one of 4x4 blocks without strides.
The kernel has a row and a column of zeros more, which change nothing.
"""

import math

import jax
from jax import lax

from cnn_jax.cpu import kernel_gradient
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
    return _convolve(x, _split(w[None], steps, taps)[0], g.rank, product["precision"])


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
    return _join(y, steps, g.batch)[tuple(map(slice, g.out))]


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
    """x [N, *space, *rest] -> [N, *sizes, prod(steps) * C, *]: each block's pixels as channels."""
    rank = len(steps)
    rest = x.shape[rank + 1 :]
    axes = zip(steps, sizes, before or [0] * rank, x.shape[1:], strict=False)
    ends = [(lo, size * step - pixels - lo, 0) for step, size, lo, pixels in axes]
    x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), *ends, *[(0, 0, 0)] * len(rest)])
    pairs = [n for pair in zip(sizes, steps, strict=True) for n in pair]
    x = x.reshape(x.shape[0], *pairs, *rest)
    block, pixel = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    x = lax.transpose(x, (0, *block, *pixel, *range(2 * rank + 1, x.ndim)))
    return x.reshape(x.shape[0], *sizes, math.prod(steps) * rest[0], *rest[1:])


def _join(y: jax.Array, steps: tuple[int, ...], channels: int) -> jax.Array:
    """y [*taps, prod(steps) * C, F] -> [*(taps * steps), C, F]."""
    rank = len(steps)
    taps = y.shape[:rank]
    y = y.reshape(*taps, *steps, channels, y.shape[-1])
    order = [axis for i in range(rank) for axis in (i, rank + i)]
    y = lax.transpose(y, (*order, 2 * rank, 2 * rank + 1))
    sizes = [n * step for n, step in zip(taps, steps, strict=True)]
    return y.reshape(*sizes, channels, y.shape[-1])
