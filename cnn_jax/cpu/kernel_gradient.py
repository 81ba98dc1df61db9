"""Kernel gradients: one product over all pixels for each tap.

The gradient of a kernel reaches the lowering as a convolution with batch and channels exchanged,
whose window is as large as the image and whose output is as small as the kernel. Read as a
definition it is a poor convolution; read tap by tap it is, for each, one matrix product that
sums over the batch and over every position of the image:

    y[o, :, :] = x[:, positions seen by o, :]^T @ w[:, :, :]      [J, N * pixels] @ [N * pixels, F]

Here x is the layer's input in its own layout [N, *space, J] and w the gradient that arrives from
above, [N, *window, F]; in a Geometry, N is called `channels` and J `batch`.
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

# The product x^T y runs near the processor's peak only if one side is wide, so the first layer of
# a network, with its three channels, lays its taps side by side.
WIDE, NARROW = 256, 32
LONG, TURNED = 16384, 64  # rows and columns of what `gram` turns; measured with jax 0.10.2


def fits(g: Geometry) -> bool:
    """Whether it looks like one: batch and channels exchanged, and a window larger than the output;
    of two alike, fewer channels (examples, in a kernel gradient) than there are on the other axes.

    Without the first, a layer of nine taps over a map of 2x2 would be taken for one.
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


def _fits_dilated(g: Geometry) -> bool:
    """The kernel gradient of a transposed convolution without dilated taps."""
    dilations = zip(g.base_dilation, g.window_dilation, strict=True)
    return max(g.base_dilation) > 1 and all(min(pair) == 1 for pair in dilations)


def _convolve_dilated(x: jax.Array, w: jax.Array, g: Geometry, **product) -> jax.Array:
    """`convolve` where x has its pixels set apart: picks the pixels of w that meet one of them.

    Pixel p of x lies at padding + p * base_dilation, so that, for output o, it meets pixel
    padding + p * base_dilation - o * stride of w. Outputs that see the same pixels of x, which
    are all of them where windows do not overlap (U-Net's up-convolutions), share one product.
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
    """Along one axis, the pixels that meet: x + i * x_step and w + i * w_step for i < pixels."""

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
        p = max(0, -(-shift // base))  # the first with t >= 0
        t = p * base - shift
        count = min(g.space[axis] - p, -(-(g.window[axis] - t) // base))
        return _Meeting(p, 1, t, base, count)
    t = max(0, -(shift // dilation))  # the first with p >= 0
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
    """gradient(x, w, g) of parts of the examples, one after the other, and their sum.

    Args:
        size: bytes of x and w that a part should have, so that what is made of it stays in the
            cache. Parts are equal, and where the number of examples has no divisor that comes near,
            they may be all of them.
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

    XLA has two matrix kernels of its own for a CPU. The faster of them (1.2 to 1.5 times, on two
    cores) does not take a sum over rows, so that x is turned first, unless it is so long or narrow
    that to move it costs more. oneDNN's takes either.
    """
    if not product.get("onednn") and x.shape[0] <= LONG and x.shape[1] >= TURNED:
        turned = lax.optimization_barrier(x.T)  # or XLA folds it into the product again
        return dot_general(turned, y, (((1,), (0,)), ((), ())), **product)
    return batched_gram(x[None], y[None], **product)[0]


def batched_gram(x: jax.Array, y: jax.Array, **product) -> jax.Array:
    """x [B, T, J], y [B, T, F] -> x^T y [B, J, F], for XLA's kernel the wider operand on the right.

    The sum runs over the rows of both operands: one contracted axis, because XLA would
    rearrange operands with several.
    """
    dimensions = (((1,), (1,)), ((0,), (0,)))
    if x.shape[-1] > y.shape[-1] and not product.get("onednn"):
        return jnp.swapaxes(dot_general(y, x, dimensions, **product), 1, 2)
    return dot_general(x, y, dimensions, **product)
