"""Kernel gradients as forward convolutions whose window is the whole image.

The gradient of a kernel correlates the layer's input with the gradient of its output. It *is* a
convolution, with a window as large as the image and an output as small as the kernel. XLA is slow
at such convolutions; oneDNN, whose kernels take windows of any size, is not, if each axis gets the
right role:

- depthwise, the batch [N, H, W, C] is one image with three axes, as it lies in memory, and the
  gradient of the output is a window with three axes for each channel: a depthwise convolution
  again. If the layer has strides, the window has holes, which oneDNN's depthwise kernel supports
  for two axes and not for three: so the examples are put below each other as one tall image;
- otherwise the sum over examples is the sum over a convolution's channels, and the channels of x
  are neighbouring positions (a window of 1 does not mix them), so that the inner product is one of
  matrices: [channels of x, examples] @ [examples, channels of the output].

Each tap of the kernel reads both arrays once. So they are taken in parts that stay in the cache:
rows of the image, or examples. If there are fewer examples than a product needs, several parts are
taken as further examples.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import depthwise, onednn
from cnn_jax.cpu.geometry import Geometry, pad
from cnn_jax.cpu.grouped import diagonal, merged
from cnn_jax.cpu.kernel_gradient import in_parts

EXAMPLES, PART = 32, 2**21  # examples in a product; bytes in a part
# Depthwise: bytes that one call takes whole (half of the cache that two cores share, where this was
# measured), and bytes in a part otherwise
WHOLE, PART_DEPTHWISE = 2**24, 2**22
# Groups: examples that one call takes, and how many are taken at a time if there are more. For more
# than 16, jaxlib's oneDNN chose a kernel that took two to three times as long for each.
MOST_GROUPED, PART_GROUPED = 16, 8
# Without AVX-512: bytes that the images of a block of groups may have in one call, and its windows,
# so that they stay in a core's cache (512 KB, where this was measured); and the fewest examples of
# a call. Sixteen examples of 28x28 pixels took 54 ms whole, and 28 ms four at a time.
NEAR, LEAST_GROUPED = 2**18, 4
AXES = "space", "window", "out", "strides", "padding", "base_dilation", "window_dilation"
WHOLE_STRIDED, PART_STRIDED = 2**23, 2**22  # the same where the layer has strides


def fits(g: Geometry) -> bool:
    """Whether `kernel_gradient` supports it: an undilated image of one or two axes."""
    if not 1 <= g.rank <= 2 or max(g.base_dilation) > 1:
        return False
    if not depthwise.fits_gradient(g) or max(g.window_dilation) == 1:
        return True
    height, first = _height(g), _first_rows(g)  # a tap may see the next example, and none beyond
    last = first[-1] + (g.window[0] - 1) * g.window_dilation[0]
    return first[0] >= -height and last < 2 * height


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, **_) -> jax.Array:
    """x [N, *space, G * c], w [N, *window, G * f] (gradient of the output) -> [*out, c, G * f].

    Exact up to the order of one sum. A non-finite channel may affect its whole block of groups.
    """
    g = _reaching(g)
    if depthwise.fits_gradient(g):
        return _depthwise(x, w, g)
    if g.batch_groups == 1:
        return _by_rows(pad(x, g), w, g._replace(padding=((0, 0),) * g.rank))
    if min(min(pair) for pair in g.padding) < 0:  # the call cannot crop
        x, g = pad(x, g), g._replace(padding=((0, 0),) * g.rank)
    some = _examples_at_a_time(x, w, g)
    return in_parts(_by_channels, x, w, g, (x.nbytes + w.nbytes) * some // g.channels)


def _examples_at_a_time(x: jax.Array, w: jax.Array, g: Geometry) -> int:
    """How many examples of a layer with groups one call takes."""
    some = g.channels if g.channels <= MOST_GROUPED else PART_GROUPED
    if onednn.has_avx512():
        return some
    blocks = g.batch_groups // merged(g.batch_groups, g.batch // g.batch_groups)
    each = max(x.nbytes, w.nbytes) // (blocks * g.channels)
    while some // 2 >= LEAST_GROUPED and some * each > NEAR:
        some //= 2
    return some


def _reaching(g: Geometry) -> Geometry:
    """g with its padding cut to the pixels that windows read; a stride skips those beyond."""
    axes = zip(g.out, g.window, g.strides, g.window_dilation, g.space, g.padding, strict=True)
    ends = [(n - 1) * s + (k - 1) * d + 1 - size - lo for n, k, s, d, size, (lo, _) in axes]
    return g._replace(padding=tuple((lo, hi) for (lo, _), hi in zip(g.padding, ends, strict=True)))


def _depthwise(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C], w [N, *window, C] -> [*out, 1, C], in parts of the examples."""
    if max(g.window_dilation) > 1:
        size = PART_STRIDED if x.nbytes + w.nbytes > WHOLE_STRIDED else WHOLE_STRIDED
        return in_parts(_correlate_rows, x, w, g, size)
    size = PART_DEPTHWISE if x.nbytes + w.nbytes > WHOLE else WHOLE
    return in_parts(_correlate, x, w, g, size)


def _correlate(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C], w [N, *window, C] -> [*out, 1, C], by one depthwise convolution."""
    solid = g._replace(
        space=x.shape[:-1],
        window=w.shape[:-1],
        out=(1, *g.out),
        strides=(1, *g.strides),
        padding=((0, 0), *g.padding),
        base_dilation=(1, *g.base_dilation),
        window_dilation=(1, *g.window_dilation),
    )
    return _one_image(x, w, solid)[0]


def _correlate_rows(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """`_correlate` for windows with holes: all examples below each other as one image.

    An example gets as many rows as its window and the holes take, so that the windows of all
    examples are a single window with the same holes, and nothing is copied. A tap that should see
    padding sees rows of a neighbouring example; what these add is taken away again.
    """
    if g.rank == 1:  # the window's last axis becomes code, so that it has to be short
        once = {name: ((0, 0),) if name == "padding" else (1,) for name in AXES}
        flat = g._replace(**{name: getattr(g, name) + once[name] for name in AXES})
        return _correlate_rows(x[:, :, None], w[:, :, None], flat).reshape(*g.out, 1, g.features)
    height = _height(g)
    x, w = _to_rows(x, height), _to_rows(w, height // g.window_dilation[0])
    tall = g._replace(
        space=(x.shape[0] * height, *g.space[1:]),
        window=(x.shape[0] * w.shape[1], *g.window[1:]),
    )
    y = _one_image(x.reshape(*tall.space, -1), w.reshape(*tall.window, -1), _reaching(tall))
    return y - _strays(x, w, g, height) if x.shape[0] > 1 else y


def _strays(x: jax.Array, w: jax.Array, g: Geometry, height: int) -> jax.Array:
    """What rows of neighbouring examples add to `_correlate_rows`: [*out, 1, C]."""
    line = g._replace(**{name: getattr(g, name)[1:] for name in AXES})
    taps = []
    for first in _first_rows(g):
        seen: list[jax.Array] = []
        above: list[jax.Array] = []
        for i in range(g.window[0]):
            row = first + i * g.window_dilation[0]
            if row < 0:
                seen, above = [*seen, x[:-1, row + height]], [*above, w[1:, i]]
            elif row >= height:
                seen, above = [*seen, x[1:, row - height]], [*above, w[:-1, i]]
        if seen:
            both = lax.concatenate(seen, 0), lax.concatenate(above, 0)
            taps.append(depthwise.kernel_gradient(*both, line))
        else:
            taps.append(jnp.zeros((*line.out, 1, g.features), x.dtype))
    return jnp.stack(taps).reshape(*g.out, 1, g.features)


def _height(g: Geometry) -> int:
    """Rows of an example in `_correlate_rows`."""
    step = g.window_dilation[0]
    return step * max(g.window[0], -(-g.space[0] // step))


def _first_rows(g: Geometry) -> list[int]:
    """The first row of x that each tap along the first axis sees."""
    return [o * g.strides[0] - g.padding[0][0] for o in range(g.out[0])]


def _to_rows(x: jax.Array, rows: int) -> jax.Array:
    """x [N, n, .., C] with zeros below each example: [N, rows, .., C]."""
    below = [(0, rows - x.shape[1] if axis == 1 else 0, 0) for axis in range(x.ndim)]
    return lax.pad(x, x.dtype.type(0), below)


def _one_image(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [*space, C], w [*window, C] -> [*out, 1, C]."""
    g = g._replace(batch=1, channels=g.features, feature_groups=g.features, batch_groups=1)
    return onednn.convolve(x[None], w[..., None, :], g)[0, ..., None, :]


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
    strides, padding, dilation = (*g.strides, 1), (*g.padding, (0, 0)), (*g.window_dilation, 1)
    y = onednn.convolution(x, w, strides, padding, dilation, blocks, kernel_axes=(0, -1))
    y = y.reshape(*g.out, g.batch // blocks, blocks, g.features // blocks)
    return diagonal(jnp.moveaxis(y, -2, -3), merge)
