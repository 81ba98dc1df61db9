"""Kernel gradients as forward convolutions whose window is the whole image.

The gradient of a kernel correlates the layer's input with the gradient of its output. It *is* a
convolution, with a window as large as the image and an output as small as the kernel. XLA is slow
at such convolutions; oneDNN, whose kernels take windows of any size, is not, if each axis gets the
right role:

- depthwise, the batch [N, H, W, C] is one image with three axes, as it lies in memory, and the
  gradient of the output is a window with three axes for each channel: a depthwise convolution
  again. If the layer has strides, the window has holes, which oneDNN's depthwise kernel does not
  support: so pixels with the same phase of the stride are put side by side, phase after phase
  along the examples;
- otherwise the sum over examples is the sum over a convolution's channels, and the channels of x
  are neighbouring positions (a window of 1 does not mix them), so that the inner product is one of
  matrices: [channels of x, examples] @ [examples, channels of the output].

Each tap of the kernel reads both arrays once. So they are taken in parts that stay in the cache:
rows of the image, or examples. If there are fewer examples than a product needs, several parts are
taken as further examples.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import depthwise, onednn, phases
from cnn_jax.cpu.geometry import Geometry, pad
from cnn_jax.cpu.grouped import diagonal, merged
from cnn_jax.cpu.kernel_gradient import in_parts

EXAMPLES, PART = 32, 2**21  # examples in a product; bytes in a part
# Depthwise: bytes that one call takes whole (half of the cache that two cores share, where this was
# measured), and bytes in a part otherwise
WHOLE, PART_DEPTHWISE = 2**24, 2**22


def fits(g: Geometry) -> bool:
    """Whether `kernel_gradient` supports it: an undilated image of one or two axes.

    Depthwise layers with both strides and dilated kernels are not supported.
    """
    both = any(s > 1 and d > 1 for s, d in zip(g.strides, g.window_dilation, strict=True))
    simple = 1 <= g.rank <= 2 and max(g.base_dilation) == 1
    return simple and not (depthwise.fits_gradient(g) and both)


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, **_) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] (gradient of the output) -> [*out, c, G * f].

    Exact up to the order of one sum. A non-finite channel may affect its whole block of groups.
    """
    g = _reaching(g)
    if depthwise.fits_gradient(g):
        return _depthwise(x, w, g)
    x = pad(x, g)
    return _by_rows(x, w, g) if g.batch_groups == 1 else _by_channels(x, w, g)


def _reaching(g: Geometry) -> Geometry:
    """g with its padding cut to the pixels that windows read; a stride skips those beyond."""
    axes = zip(g.out, g.window, g.strides, g.window_dilation, g.space, g.padding, strict=True)
    ends = [(n - 1) * s + (k - 1) * d + 1 - size - lo for n, k, s, d, size, (lo, _) in axes]
    return g._replace(padding=tuple((lo, hi) for (lo, _), hi in zip(g.padding, ends, strict=True)))


def _depthwise(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C], w [N, *window, C] -> [*out, 1, C], in parts of the examples."""
    if max(g.window_dilation) > 1:
        return in_parts(_correlate_phases, x, w, g, PART_DEPTHWISE)
    size = PART_DEPTHWISE if x.nbytes + w.nbytes > WHOLE else WHOLE
    return in_parts(_correlate, x, w, g, size)


def _correlate(x: jax.Array, w: jax.Array, g: Geometry, batches: int = 1) -> jax.Array:
    """x [batches * N, *space, C], w [N, *window, C] -> [*out, 1, C], by one depthwise convolution.

    With several batches, [batches, *out, 1, C]: the window moves by N examples each time.
    """
    examples, once = w.shape[0], (1,) * (g.rank + 1)
    solid = Geometry(
        batch=1,
        channels=g.features,
        features=g.features,
        space=x.shape[:-1],
        window=w.shape[:-1],
        out=(batches, *g.out),
        strides=(examples, *g.strides),
        padding=((0, 0), *g.padding),
        base_dilation=once,
        window_dilation=once,
        feature_groups=g.features,
        batch_groups=1,
    )
    y = onednn.convolve(x[None], w[..., None, :], solid)[0, ..., None, :]
    return y if batches > 1 else y[0]


def _correlate_phases(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """`_correlate` for windows with holes: tap o * step + p meets only pixels of phase p."""
    steps, once = g.window_dilation, (1,) * g.rank
    out = tuple(-(-n // step) for n, step in zip(g.out, steps, strict=True))  # of one phase
    space = [(n - 1) * s + k for n, s, k in zip(out, g.strides, g.window, strict=True)]
    x = phases.split(x, steps, space, [lo for lo, _ in g.padding])
    one = g._replace(out=out, padding=((0, 0),) * g.rank, window_dilation=once)
    y = _correlate(x, w, one, math.prod(steps)).reshape(*steps, 1, *out, g.features)
    y = phases.join(y, g.rank)[0, ..., None, :]
    return y[tuple(map(slice, g.out))]


def _by_rows(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """`_by_channels` over parts of the window's rows, one after the other, and their sum."""
    rows, step = g.window[0], g.window_dilation[0]
    row_bytes = 4 * w.size // rows + 4 * x.size * step // x.shape[1]
    side_by_side = max(1, min(EXAMPLES // g.channels, rows))
    height = min(max(1, PART // (row_bytes * side_by_side)), -(-rows // side_by_side))
    together = height * side_by_side
    parts = -(-rows // together)
    if parts * together > rows:  # a last part that is not full meets zeros
        more = parts * together - rows
        w = lax.pad(w, w.dtype.type(0), [(0, more if a == 1 else 0, 0) for a in range(w.ndim)])
        more *= step
        x = lax.pad(x, x.dtype.type(0), [(0, more if a == 1 else 0, 0) for a in range(x.ndim)])
    seen = (g.out[0] - 1) * g.strides[0] + (height - 1) * step + 1  # rows of x for one part
    part = g._replace(channels=g.channels * side_by_side, window=(height, *g.window[1:]))

    def add(i, total):
        first = [i * together + j * height for j in range(side_by_side)]
        images = [lax.dynamic_slice_in_dim(x, row * step, seen, 1) for row in first]
        windows = [lax.dynamic_slice_in_dim(w, row, height, 1) for row in first]
        return total + _by_channels(lax.concatenate(images, 0), lax.concatenate(windows, 0), part)

    return lax.fori_loop(0, parts, add, jnp.zeros((*g.out, g.batch, g.features), x.dtype))


def _by_channels(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] -> [*out, c, G * f]."""
    merge = merged(g.batch_groups, g.batch // g.batch_groups)
    blocks = g.batch_groups // merge
    x = x.reshape(*x.shape[:-1], blocks, g.batch // blocks)
    x = lax.transpose(x, (*range(1, g.rank + 1), g.rank + 2, g.rank + 1, 0))
    x = x.reshape(1, *x.shape[:-2], blocks * g.channels)  # [1, *space, c, blocks * N]
    w = w[..., None, :]  # [N, *window, 1, F]
    strides, padding, dilation = (*g.strides, 1), ((0, 0),) * (g.rank + 1), (*g.window_dilation, 1)
    y = onednn.convolution(x, w, strides, padding, dilation, blocks, kernel_axes=(0, -1))
    y = y.reshape(*g.out, g.batch // blocks, blocks, g.features // blocks)
    return diagonal(jnp.moveaxis(y, -2, -3), merge)
