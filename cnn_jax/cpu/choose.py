"""The choice of a method for a convolution: a short list of rules over its Geometry.

Costs are counted in multiply-adds of a large matrix product, the one operation that every processor
runs near its peak. Reading and writing a number once costs `TOUCH` of them: 150 GFLOP/s and 15 GB/s
are about what two cores of 2021 reach on arrays that do not fit into their caches, and so 8 bytes
take as long as 40 multiply-adds. The rules need no more precision, because the methods differ by
factors.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu import (
    depthwise,
    geometry,
    grouped,
    image_windows,
    kernel_gradient,
    onednn,
    patches,
    phases,
    pointwise,
    subpixel,
    taps,
    winograd,
)
from cnn_jax.cpu.geometry import Geometry

# With oneDNN, whose convolution needs no such loops, Winograd has to save more: its loops also take
# XLA half a second a layer to compile. A frozen one is compiled forward alone, and runs often.
TOUCH, TOUCH_ONEDNN = 40, 100
# How often a transformed kernel is written or read: by its transform and by the products; for a
# gradient, by the products and by the transforms along two axes; frozen, by the products alone
MOVES, MOVES_GRADIENT, MOVES_FROZEN = 2, 3, 1
# Winograd turns one convolution into about thirty loops, which take XLA half a second to compile:
# not worth it for a layer that runs in less than half a millisecond.
LEAST = 40_000_000
# Nor is a call to oneDNN worth it for a layer of a few hundredths of a millisecond: it costs about
# as much as it saves, and the program could not be kept on disk. A 3x3 layer of 2.4 million
# multiply-adds on 2x2 pixels took 0.05 ms with it and 0.34 without. Layers in groups, at which XLA
# is slow, count eightfold.
LEAST_ONEDNN, GROUPED = 2_000_000, 8
# Up to this size XLA's own strided convolutions were faster than gathering patches (forward) or
# interleaving phases (input gradient): measured at 64 channels; at 256 channels ours were.
NARROW = 64

# For plain layers with at most so many features and at least so many channels oneDNN took 1.3 to 3
# times as much processor time as XLA, since it fills vectors of 16 with features (jax 0.10.2 and
# 0.12.0.1; 3x3 to 7x7). Examples: the gradient of an image, an autoencoder's last layer.
FEW, MANY = 8, 24

PHASES = "phases of "  # prefix to the name of the method that runs the phases of a dilated one


def choose(
    g: Geometry, exact: bool = False, by_onednn: bool = False, frozen: bool = False
) -> str | None:
    """The name of a method, or None if XLA's own convolution is as good.

    Args:
        g: the convolution.
        exact: whether rounding must be that of a plain sum, which excludes Winograd.
        by_onednn: whether oneDNN's convolution and product may be used.
        frozen: whether Winograd's kernels are transformed beforehand, see `cnn_jax.cpu.freeze`.
    """
    if _worth_phases(g, by_onednn):
        method = choose(phases.reduced(g), exact, by_onednn)
        if method and method.startswith("winograd"):
            return f"{PHASES}{method}"  # the other methods run dilated convolutions as they are
    if by_onednn:
        return _choose_with_onednn(g, exact, frozen)
    if kernel_gradient.fits(g):
        return _choose_gradient(g, exact)
    if subpixel.fits(g):
        narrow = g.feature_groups == 1 and g.features <= NARROW and g.taps > 1
        return None if narrow else "subpixel"
    if pointwise.fits(g):
        return "pointwise"
    if depthwise.fits(g):
        return "depthwise"
    best = _winograd(g, exact, TOUCH, frozen)
    if best:
        return best
    if g.feature_groups > 1:
        return "grouped"
    if taps.fits(g):
        return "taps"
    strided = max(g.strides, default=1) > 1
    overlap = g.taps > math.prod(g.strides)
    if strided and g.channels > (NARROW if overlap else 32):
        return "patches"
    if g.channels <= 4 and g.taps <= 16:
        return "patches"
    return None


def _worth_phases(g: Geometry, by_onednn: bool) -> bool:
    """Whether a dilated convolution should be split into phases.

    Not if it has groups, nor forward with oneDNN, which is as fast with holes, nor for kernel
    gradients in 1-D, which are left to XLA.
    """
    if not phases.fits(g) or g.feature_groups * g.batch_groups > 1:
        return False
    if kernel_gradient.fits(g):
        return g.rank > 1 and kernel_gradient.fits(phases.reduced(g))
    return not by_onednn and not kernel_gradient.fits(phases.reduced(g))


def _choose_gradient(g: Geometry, exact: bool) -> str | None:
    if depthwise.fits_gradient(g):
        return "depthwise_gradient"
    if g.rank == 1 and g.positions > 1 and g.batch_groups == 1:
        return None  # XLA runs this one well; ours took 1.7-3x as long
    best = _winograd(g, exact, TOUCH)
    if best:
        return best
    if g.batch_groups > 1:
        return "grouped_gradient"
    narrow = g.batch < kernel_gradient.NARROW and g.positions > 16
    if max(g.base_dilation) == 1 and (narrow or max(g.strides) > 1):
        return None  # a first layer's large window, or dilated taps: XLA took half as long as we
    return "kernel_gradient"


def worth_onednn(g: Geometry) -> bool:
    """Whether a convolution is large enough to call oneDNN for it."""
    groups = g.feature_groups * g.batch_groups
    return g.multiplications * (GROUPED if groups > 1 else 1) >= LEAST_ONEDNN


def _choose_with_onednn(g: Geometry, exact: bool, frozen: bool) -> str | None:
    """`choose` with oneDNN: its convolution, unless Winograd's needs less work."""
    if kernel_gradient.fits(g):
        if depthwise.fits_gradient(g):
            return "image_windows" if image_windows.fits(g) else "depthwise_gradient"
        if g.batch_groups > 1:
            return "image_windows" if image_windows.fits(g) else "grouped_gradient"
        if g.rank == 1 and max(g.strides) > 1:
            return None  # dilated taps, as in a TCN: XLA took 0.7 to 1.1 times as long as ours
        if kernel_gradient.fits_windows_of_dy(g):
            return "windows_of_dy"
        best = _winograd(g, exact, TOUCH_ONEDNN)
        if best:
            return best
        overlap = g.positions > math.prod(g.window_dilation)
        wide = g.batch * g.features >= kernel_gradient.NARROW**2 or g.positions > 16
        taken = overlap and wide and max(g.strides) == 1 and image_windows.fits(g)
        return "image_windows" if taken else "kernel_gradient"
    if subpixel.fits(g):
        return None if g.features <= 4 and g.taps > 1 else "subpixel"  # the gradient of an image
    if pointwise.fits(g) and max(g.base_dilation, default=1) == 1:
        return "pointwise"
    if not onednn.fits(g) or _makes_few_of_many(g):
        return None
    touch = TOUCH if frozen else TOUCH_ONEDNN
    best = _winograd(g, exact, touch, frozen) if g.feature_groups == 1 else None
    return best or "onednn"


def _makes_few_of_many(g: Geometry) -> bool:
    plain = {*g.strides, *g.window_dilation, g.feature_groups} == {1} and g.rank == 2
    return plain and g.taps > 1 and g.features <= FEW and g.channels >= MANY


def _winograd(g: Geometry, exact: bool, touch: int, frozen: bool = False) -> str | None:
    """The Winograd method that is cheaper than the sum it stands for, if there is one.

    Args:
        touch: cost of reading and writing a number, see `TOUCH`.
        frozen: whether its kernels are transformed beforehand.
    """
    gradient = kernel_gradient.fits(g)
    if exact or not (winograd.fits_gradient(g) if gradient else winograd.fits(g)):
        return None
    f = winograd.folded(g)
    if gradient:
        blocks = _blocks(g.batch_groups, g.batch)
        direct = g.positions * g.channels * g.taps * g.batch * (g.features // blocks + touch)
        sizes = (f.channels, f.window, f.out, f.batch, f.features)
        best = _best_tile(*sizes, blocks, direct, touch, MOVES_GRADIENT)
        return f"{best}_gradient" if best else None
    blocks = _blocks(g.feature_groups, g.channels)
    direct = g.taps * g.pixels * g.channels * (g.features // blocks)
    if g.feature_groups > 1:
        # "grouped" writes each tap's view of x. Winograd moves x and y between layouts, reading and
        # writing each once, which counts in favour of "grouped" here.
        direct += touch * g.pixels * (g.taps * g.channels - 2 * (g.channels + g.features))
    sizes = (f.batch, f.out, f.window, f.channels, f.features)
    return _best_tile(*sizes, blocks, direct, touch, MOVES_FROZEN if frozen else MOVES)


def _best_tile(
    batch, image, window, channels, features, blocks, direct, touch, moves
) -> str | None:
    """The cheapest Winograd method, if it is cheaper than `direct`."""
    best = None
    if direct < LEAST:
        return None
    for tile in winograd.POINTS:
        counts = [math.ceil(n / tile) if k > 1 else n for n, k in zip(image, window, strict=True)]
        tiles = batch * math.prod(counts)
        products = tiles * channels * (features // blocks)
        touched = moves * channels * (features // blocks) + tiles * (channels + features)
        points = math.prod(tile + k - 1 if k > 1 else 1 for k in window)
        cost = points * (products + touch * touched)
        if cost < direct:
            best, direct = f"winograd{tile}", cost
    return best


def _blocks(groups: int, channels: int) -> int:
    return groups // grouped.merged(groups, channels // groups)


GRADIENT_METHODS: dict[str, Callable[..., jax.Array]] = {
    "depthwise_gradient": depthwise.kernel_gradient,
    "grouped_gradient": grouped.kernel_gradient,
    "image_windows": image_windows.kernel_gradient,
    "kernel_gradient": kernel_gradient.convolve,
    "windows_of_dy": kernel_gradient.by_windows_of_dy,
    "winograd2_gradient": partial(winograd.kernel_gradient, tile=2),
    "winograd4_gradient": partial(winograd.kernel_gradient, tile=4),
}
METHODS: dict[str, Callable[..., jax.Array]] = {
    "winograd2": partial(winograd.convolve, tile=2),
    "winograd4": partial(winograd.convolve, tile=4),
    "pointwise": pointwise.convolve,
    "patches": patches.convolve,
    "taps": taps.convolve,
    "depthwise": depthwise.convolve,
    "grouped": grouped.convolve,
    "onednn": onednn.convolve,
}


def run(
    method: str, g: Geometry, x: jax.Array, w: jax.Array, params, by_onednn: bool = False
) -> jax.Array:
    """Convolves by the named method, in the caller's layout.

    Half-precision operands are widened first, so that sums are taken in float32 and rounded once.
    """
    numbers = params["dimension_numbers"]
    dtype = jnp.dtype(params["preferred_element_type"] or x.dtype)
    wide = jnp.promote_types(jnp.promote_types(x.dtype, dtype), jnp.float32)
    product = {"precision": params["precision"], "onednn": by_onednn}
    x, w = x.astype(wide), w.astype(wide)
    _, apart, method = method.rpartition(PHASES)
    gradient = method in GRADIENT_METHODS
    move, move_back = (
        (geometry.to_gradient_form, geometry.from_gradient_form)
        if gradient
        else (geometry.to_canonical, geometry.from_canonical)
    )
    x, w = move(x, w, numbers)
    if method == "subpixel":
        y = subpixel.convolve(x, w, g, partial(undilated, g, params["precision"], None))
    else:
        convolve = (GRADIENT_METHODS if gradient else METHODS)[method]
        if apart:
            x, w = phases.split_operands(x, w, g)
            y = phases.join_result(convolve(x, w, phases.reduced(g), **product), g)
        else:
            y = convolve(x, w, g, **product)
    return move_back(y, numbers).astype(dtype)


def undilated(g: Geometry, precision, sums, x, w, strides, padding, window_dilation) -> jax.Array:
    """A convolution without base dilation, in the layout of `Geometry`: one phase of a sub-pixel
    decomposition, a primitive that comes back to the rules in force.

    Args:
        sums: dtype to ask for by name where the operands have it; None to leave that to JAX.
    """
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
        precision=precision,
        preferred_element_type=None if sums is None or x.dtype != sums else sums,
    )
