"""Dilated convolutions without holes: the pixels of one phase are a smaller image.

If taps are d pixels apart, output o meets only pixels whose position equals o modulo d. So Chen et
al. 2018, "DeepLab" (arXiv 1606.00915, section 3.1), deinterlace the image into d images per axis,
one for each phase, convolve these without dilation, and interlace the results. The smaller images
are further examples of one batch, so that every method for windows without holes, above all
Winograd's, supports dilated ones too. A kernel gradient sums over the phases as over examples.
"""

import math
from collections.abc import Sequence

import jax
from jax import lax

from cnn_jax.cpu import kernel_gradient
from cnn_jax.cpu.geometry import Geometry


def fits(g: Geometry) -> bool:
    """Whether the windows have holes, and neither strides nor another dilation are there."""
    steps, others = _steps(g)
    return max(steps, default=1) > 1 and max(*others, *g.base_dilation) == 1


def reduced(g: Geometry) -> Geometry:
    """The convolution of the phases: no dilation, no padding, more examples."""
    steps, once = _steps(g)[0], (1,) * g.rank
    gradient = kernel_gradient.fits(g)
    moves, held = (g.window, g.out) if gradient else (g.out, g.window)
    moves = tuple(-(-n // step) for n, step in zip(moves, steps, strict=True))
    g = g._replace(
        space=tuple(n + k - 1 for n, k in zip(moves, held, strict=True)),
        padding=((0, 0),) * g.rank,
        strides=once,
        window_dilation=once,
    )
    if gradient:
        return g._replace(window=moves, channels=g.channels * math.prod(steps))
    return g._replace(out=moves, batch=g.batch * math.prod(steps))


def split_operands(x: jax.Array, w: jax.Array, g: Geometry) -> tuple[jax.Array, jax.Array]:
    """The operands of `reduced(g)`: x [N, *space, C] split, and w [*window, C / G, F] as it is.

    In a kernel gradient w [N, *window, F] is an image too, and is split like x.
    """
    steps, small = _steps(g)[0], reduced(g)
    x = split(x, steps, small.space, [lo for lo, _ in g.padding])
    return x, split(w, steps, small.window) if kernel_gradient.fits(g) else w


def join_result(y: jax.Array, g: Geometry) -> jax.Array:
    """Turns the result of `reduced(g)` into that of g, [N, *out, F]; a kernel gradient stays."""
    if kernel_gradient.fits(g):
        return y
    steps = _steps(g)[0]
    y = join(y.reshape(*steps, -1, *y.shape[1:]), len(steps))
    return y[(slice(None), *map(slice, g.out))]


def split(
    x: jax.Array, steps: Sequence[int], sizes: Sequence[int], before: Sequence[int] | None = None
) -> jax.Array:
    """x [N, *space, C] -> [prod(steps) * N, *sizes, C]: the pixels of each phase, phase by phase.

    Args:
        steps: number of phases along each axis.
        sizes: number of pixels of a phase along each axis; zeros are added after the last pixel, or
            pixels left out.
        before: number of zeros before the first pixel along each axis.
    """
    axes = zip(steps, sizes, before or [0] * len(steps), x.shape[1:-1], strict=True)
    ends = [(lo, size * step - pixels - lo, 0) for step, size, lo, pixels in axes]
    x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), *ends, (0, 0, 0)])
    pairs = [n for pair in zip(sizes, steps, strict=True) for n in pair]
    x = x.reshape(x.shape[0], *pairs, x.shape[-1])
    phase, pixel = range(2, x.ndim - 1, 2), range(1, x.ndim - 1, 2)
    x = lax.transpose(x, (*phase, 0, *pixel, x.ndim - 1))
    return x.reshape(-1, *sizes, x.shape[-1])


def join(y: jax.Array, rank: int) -> jax.Array:
    """y [*steps, N, *sizes, F] -> [N, *(sizes * steps), F]: the phases interlaced."""
    order = [rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), y.ndim - 1]
    sizes = [n * step for n, step in zip(y.shape[rank + 1 : -1], y.shape[:rank], strict=True)]
    return lax.transpose(y, order).reshape(y.shape[rank], *sizes, y.shape[-1])


def _steps(g: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Distances of the layer's taps and of its windows; a kernel gradient has them exchanged."""
    both = g.window_dilation, g.strides
    return both[::-1] if kernel_gradient.fits(g) else both
