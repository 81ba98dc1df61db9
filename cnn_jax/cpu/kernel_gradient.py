"""Kernel gradients: one product over all pixels for each tap.

The gradient of a kernel reaches the lowering as a convolution with batch and channels exchanged,
whose window is as large as the image and whose output is as small as the kernel. By its definition
it is a slow convolution. Taken tap by tap, each is one matrix product that sums over the batch and
over all positions of the image:

    y[o, :, :] = x[:, positions seen by o, :]^T @ w[:, :, :]      [J, N * pixels] @ [N * pixels, F]

Here x is the layer's input in its own layout [N, *space, J], and w is the gradient of its output,
[N, *window, F]. In a Geometry, N is called `channels` and J `batch`.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu.geometry import Geometry, pad, window_slice
from cnn_jax.cpu.onednn import dot_general
from cnn_jax.cpu.patches import side_by_side

# The product x^T y runs near the processor's peak only if one side is wide. So the taps of a
# network's first layer, which has three channels, are put side by side.
WIDE, NARROW = 256, 32
# A layer of at least this many times as many channels as features, on a map of few pixels: the
# windows of dy are put side by side (DenseNet's 3x3 layers; see BUILD_NOTES.md)
RATIO, FEW_PIXELS, FEW_COLUMNS = 4, 1024, 320
LONG, TURNED = 16384, 64  # rows and columns for which `gram` transposes; measured with jax 0.10.2


def fits(g: Geometry) -> bool:
    """Whether it looks like a kernel gradient.

    Batch and channels are exchanged, or else a layer of nine taps on a map of 2x2 would look like
    one. The window is larger than the output; if they are equal, there are fewer channels
    (examples, in a kernel gradient) than there are on the other axes.
    """
    looks = g.taps > g.positions or (
        g.taps == g.positions > 1 and g.channels < min(g.batch, g.features)
    )
    return g.batch_groups > 1 or (g.feature_groups == 1 and g.exchanged and looks)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """x [N, *space, J], w [N, *window, F] -> [*out, J, F]. Exact up to summation order."""
    if _fits_dilated(g):
        return _convolve_dilated(x, w, g, **product)
    x = pad(x, g)
    above = w.reshape(-1, g.features)
    if g.batch < NARROW and g.batch * g.positions <= WIDE:
        columns = side_by_side(x, g.out, g.strides, g.window_dilation, g.window)
        total = gram(columns.reshape(-1, columns.shape[-1]), above, **product)  # [taps * J, F]
        return total.reshape(*g.out, g.batch, g.features)
    views = []
    for tap in itertools.product(*map(range, g.out)):
        start = [t * s for t, s in zip(tap, g.strides, strict=True)]
        seen = window_slice(x, start, g.window_dilation, g.window)
        views.append(seen.reshape(-1, g.batch))
    together = max(1, WIDE // g.batch) if g.batch < NARROW else 1
    sums = []
    for i in range(0, len(views), together):
        some = views[i : i + together]
        total = gram(lax.concatenate(some, 1), above, **product)  # [taps * J, F]
        sums.append(total.reshape(len(some), g.batch, g.features))
    return lax.concatenate(sums, 0).reshape(*g.out, g.batch, g.features)


def fits_windows_of_dy(g: Geometry) -> bool:
    """Whether dy, much narrower than x, should be gathered in place of x."""
    plain = {*g.strides, *g.base_dilation, *g.window_dilation, g.batch_groups} == {1}
    narrow = g.batch >= RATIO * g.features and g.features * g.positions <= FEW_COLUMNS
    return plain and narrow and g.positions > 1 and g.channels * g.taps <= FEW_PIXELS


def by_windows_of_dy(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """`convolve` as one product: of x, as it is, and what each tap sees of w, side by side.

    Pixel q of x meets pixel q + padding - o of w for output o. Exact up to summation order.
    """
    sizes = zip(g.out, g.padding, g.window, g.space, strict=True)
    sides = [(out - 1 - lo, space + lo - window) for out, (lo, _), window, space in sizes]
    zeros = jnp.zeros((), w.dtype)
    w = lax.pad(w, zeros, [(0, 0, 0), *((lo, hi, 0) for lo, hi in sides), (0, 0, 0)])
    once = (1,) * g.rank
    columns = side_by_side(w, g.out, once, once, g.space)  # [N, *space, taps * F], last tap first
    columns = columns.reshape(-1, columns.shape[-1])
    total = gram(x.reshape(-1, g.batch), columns, **product).reshape(g.batch, *g.out, g.features)
    return jnp.moveaxis(lax.rev(total, range(1, g.rank + 1)), 0, -2)


def _fits_dilated(g: Geometry) -> bool:
    """The kernel gradient of a transposed convolution without dilated taps."""
    dilations = zip(g.base_dilation, g.window_dilation, strict=True)
    return max(g.base_dilation) > 1 and all(min(pair) == 1 for pair in dilations)


def _convolve_dilated(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """`convolve` for dilated x: picks the pixels of w that meet a pixel of x.

    Pixel p of x lies at padding + p * base_dilation. For output o it meets pixel
    padding + p * base_dilation - o * stride of w. Outputs that see the same pixels of x share one
    product; if windows do not overlap (U-Net's up-convolutions), all do.
    """
    groups: dict[tuple, list[tuple[int, jax.Array]]] = {}
    for tap, position in enumerate(itertools.product(*map(range, g.out))):
        meets = [_meeting(g, axis, o) for axis, o in enumerate(position)]
        if all(seen.pixels > 0 for seen in meets):
            from_x = tuple((seen.x, seen.x_step, seen.pixels) for seen in meets)
            from_w = tuple((seen.w, seen.w_step, seen.pixels) for seen in meets)
            groups.setdefault(from_x, []).append((tap, _rows(w, from_w)))
    zero = jnp.zeros((g.batch, g.features), x.dtype)
    taps = [zero] * g.positions
    for from_x, above in groups.items():
        total = gram(_rows(x, from_x), lax.concatenate([rows for _, rows in above], 1), **product)
        for (tap, _), part in zip(above, jnp.split(total, len(above), 1), strict=True):
            taps[tap] = part
    return jnp.stack(taps).reshape(*g.out, g.batch, g.features)


class _Meeting(NamedTuple):
    """The pixels that meet along one axis: x + i * x_step and w + i * w_step for i < pixels."""

    x: int
    x_step: int
    w: int
    w_step: int
    pixels: int


def _meeting(g: Geometry, axis: int, o: int) -> _Meeting:
    base, dilation = g.base_dilation[axis], g.window_dilation[axis]
    # x pixel p meets w pixel t where p * base - t * dilation = shift; one of the two is 1
    shift = o * g.strides[axis] - g.padding[axis][0]
    if base > 1:
        p = max(0, -(-shift // base))  # the first p with t >= 0
        t = p * base - shift
        count = min(g.space[axis] - p, -(-(g.window[axis] - t) // base))
        return _Meeting(p, 1, t, base, count)
    t = max(0, -(shift // dilation))  # the first t with p >= 0
    p = t * dilation + shift
    count = min(g.window[axis] - t, -(-(g.space[axis] - p) // dilation))
    return _Meeting(p, dilation, t, 1, count)


def _rows(x: jax.Array, picked: tuple[tuple[int, int, int], ...]) -> jax.Array:
    """x [N, *space, C] at (start, step, count) along each axis: [N * counts, C]."""
    start, step, count = zip(*picked, strict=True)
    return window_slice(x, start, step, count).reshape(-1, x.shape[-1])


def in_parts(
    gradient: Callable[..., jax.Array], x: jax.Array, w: jax.Array, g: Geometry, size: int
) -> jax.Array:
    """The sum of gradient(x, w, g) over parts of the examples, one after the other.

    Args:
        size: bytes of x and w in a part, so that what is made from it stays in the cache. Parts are
            equal; if no divisor of the number of examples comes near, there is a single part.
    """
    wanted = size * g.channels / (x.nbytes + w.nbytes)
    divisors = [n for n in range(1, g.channels + 1) if g.channels % n == 0]
    part = min(divisors, key=lambda n: abs(math.log(n / wanted)))
    if part == g.channels:
        return gradient(x, w, g)
    one = g._replace(channels=part)

    def add(i, total):
        some = [lax.dynamic_slice_in_dim(a, i * part, part) for a in (x, w)]
        return total + gradient(*some, one)

    like = jax.eval_shape(lambda x, w: gradient(x, w, one), x[:part], w[:part])
    return lax.fori_loop(0, g.channels // part, add, jnp.zeros(like.shape, like.dtype))


def gram(x: jax.Array, y: jax.Array, **product) -> jax.Array:
    """x [T, J], y [T, F] -> x^T y [J, F].

    XLA has two matrix kernels of its own for a CPU. The faster one (1.2 to 1.5 times, on two cores)
    does not support a sum over rows. So x is transposed first, unless it is so long or narrow that
    moving it costs more. oneDNN's kernel supports both.
    """
    if not product.get("onednn") and x.shape[0] <= LONG and x.shape[1] >= TURNED:
        turned = lax.optimization_barrier(x.T)  # otherwise XLA folds it into the product again
        return dot_general(turned, y, (((1,), (0,)), ((), ())), **product)
    if product.get("onednn"):
        return dot_general(x, y, (((0,), (0,)), ((), ())), **product)
    return batched_gram(x[None], y[None], **product)[0]


def batched_gram(x: jax.Array, y: jax.Array, **product) -> jax.Array:
    """x [B, T, J], y [B, T, F] -> x^T y [B, J, F], with the wider operand on the right for XLA.

    The sum is over the rows of both operands, a single axis: XLA would rearrange operands with
    several contracted axes.
    """
    dimensions = (((1,), (1,)), ((0,), (0,)))
    if x.shape[-1] > y.shape[-1] and not product.get("onednn"):
        return jnp.swapaxes(dot_general(y, x, dimensions, **product), 1, 2)
    return dot_general(x, y, dimensions, **product)
