"""Writes the layers of a folded program: by a call to oneDNN, by Winograd, or as they were."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax import jax_internals
from cnn_jax.cpu import (
    choose,
    geometry,
    kernel_gradient,
    pointwise,
    products,
    trim,
    verdict,
    winograd,
)
from cnn_jax.cpu import onednn as calls
from cnn_jax.cpu.flat import Slot, Value
from cnn_jax.cpu.folding import CONVOLUTION, Layer
from cnn_jax.cpu.fused import fused
from cnn_jax.cpu.onednn import ACTIVATIONS

Run = Callable[[Sequence[Any], dict[Slot, Any]], None]
Read = Callable[[Sequence[Any], dict[Slot, Any]], Any]
# x, what prepared the kernel, bias or None, what is added or None -> the layer's own result
Compute = Callable[[Any, Sequence[Any], Any, Any], jax.Array]


def write(layer: Layer, weights: list[Any], onednn: bool, winograd_too: bool) -> tuple[Run, bool]:
    """A function that carries out a layer, whose numbers it adds to the weights.

    Args:
        layer: the layer.
        weights: arrays that the program has as arguments.
        onednn: whether it may be a call to oneDNN.
        winograd_too: whether it may be Winograd's with a kernel that is transformed beforehand.

    Returns:
        The function, and whether it is a call.
    """
    kernels, plain, fast = _versions(layer, onednn, winograd_too)
    read_x = reader(layer.x, weights)
    read_kernels = [reader(kernel, weights) for kernel in kernels]
    bias = None if layer.bias is None else np.asarray(layer.bias, layer.kernel.dtype)
    read_bias = [] if bias is None else [reader(bias, weights)]
    read_added = [] if layer.added is None else [reader(layer.added, weights)]
    reads = [read_x, *read_kernels, *read_bias, *read_added]
    count = 1 + len(kernels)

    def of(version: Compute) -> Callable[..., jax.Array]:
        def compute(x: Any, *operands: Any) -> jax.Array:
            rest = list(operands[count - 1 :])
            bias = rest.pop(0) if read_bias else None
            added = rest.pop(0).reshape(own) if read_added else None
            return version(x, operands[: count - 1], bias, added).reshape(result.shape)

        return compute

    own, result = layer.aval.shape, jax.ShapeDtypeStruct(layer.shape, layer.aval.dtype)
    output = layer.output  # the layer itself, and its kernel, are not kept
    compute = of(plain) if fast is None else fused(of(plain), of(fast), result)

    def run(weights: Sequence[Any], values: dict[Slot, Any]) -> None:
        values[output] = compute(*[read(weights, values) for read in reads])

    return run, fast is not None


def reader(value: Value, weights: list[Any]) -> Read:
    """Reads a slot, or a known value from the weights, where it is put, compact."""
    if isinstance(value, Slot):
        return lambda weights, values: values[value]
    if not isinstance(value, np.ndarray):
        weights.append(value)
        place = len(weights) - 1
        return lambda weights, values: weights[place]
    if value.size <= 1:  # the compiler uses what a single number is
        return lambda weights, values: value
    steps = zip(value.shape, value.strides, strict=True)
    compact = value[tuple(slice(0, 1) if step == 0 else slice(None) for _, step in steps)]
    weights.append(np.ascontiguousarray(compact))
    place = len(weights) - 1
    return lambda weights, values: jnp.broadcast_to(weights[place], value.shape)


def _versions(
    layer: Layer, onednn: bool, winograd_too: bool
) -> tuple[list[np.ndarray], Compute, Compute | None]:
    """The layer's kernels, the plain version of it, and one by oneDNN if there is one."""

    layer = _without_dead_taps(layer)
    eqn, ending = layer.eqn, _ending(layer)

    def plain(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
        return ending.of(jax_internals.bind(eqn, x, *kernels), bias, added)

    kernel = np.asarray(layer.kernel)
    as_it_is = [kernel], plain, None
    x, y = layer.eqn.invars[0].aval, layer.aval
    if not _is_static(layer) or not (onednn or winograd_too):
        return as_it_is
    if {kernel.dtype, x.dtype, y.dtype} != {np.dtype(np.float32)}:
        return as_it_is
    if layer.eqn.params["precision"] not in (None, (lax.Precision.DEFAULT,) * 2):
        return as_it_is
    if layer.eqn.primitive.name != CONVOLUTION:
        return as_it_is if not onednn else _by_product(layer, plain)
    g = geometry.of(x.shape, kernel.shape, y.shape, layer.eqn.params)
    product = onednn and _is_product(g)  # of any number of axes
    fits = product or calls.fits(g)
    if _is_empty(layer) or not fits or trim.live(g) or not choose.worth_onednn(g):
        return as_it_is
    if product:
        return _by_call(layer, g)
    method = choose.choose(g, by_onednn=onednn, frozen=True) or ""
    if winograd_too and method in TILES:
        return _by_winograd(layer, g, TILES[method])
    if onednn and method in ("onednn", "pointwise"):
        return _by_call(layer, g)
    return as_it_is


def _is_static(layer: Layer) -> bool:
    """Whether sizes are numbers; in a program that is exported for any batch they are not."""
    shapes = *layer.eqn.invars[0].aval.shape, *layer.aval.shape
    return all(isinstance(size, int) for size in shapes)


def _is_empty(layer: Layer) -> bool:
    return min((*layer.eqn.invars[0].aval.shape, *layer.kernel.shape, *layer.aval.shape)) == 0


def _without_dead_taps(layer: Layer) -> Layer:
    """The same layer; taps of its kernel that meet nothing but padding are cut off.

    Not if the kernel is not finite: zeros times such taps are NaN, which should be seen.
    """
    if layer.eqn.primitive.name != CONVOLUTION or not _is_static(layer) or _is_empty(layer):
        return layer
    params = layer.eqn.params
    x, kernel = layer.eqn.invars[0].aval.shape, np.asarray(layer.kernel)
    g = geometry.of(x, kernel.shape, layer.aval.shape, params)
    ranges = trim.live(g)
    if ranges is None or kernel_gradient.fits(g):  # of a gradient, outputs would be cut off
        return layer
    if not np.isfinite(kernel).all():
        return layer
    numbers = params["dimension_numbers"]
    eqn = layer.eqn.replace(params={**params, "padding": trim.padding(g, ranges)})
    return layer._replace(eqn=eqn, kernel=kernel[trim.kept(ranges, numbers.rhs_spec)])


TILES = {f"winograd{tile}": tile for tile in winograd.POINTS}


class _Ending(NamedTuple):
    """What follows the convolution or product of a layer.

    Attributes:
        axis: axis of its result along which the features lie.
        activation: as in `Layer`.
        after: all of it, by oneDNN's names.
    """

    axis: int
    activation: str
    after: list[str]

    def of(self, y: jax.Array, bias: Any, added: Any) -> jax.Array:
        """The layer's result, of that of the convolution or product."""
        shape = [1] * y.ndim
        shape[self.axis] = -1
        y = y if bias is None else y + bias.reshape(shape)
        y = y if added is None else y + added
        return ACTIVATIONS[self.activation](y) if self.activation else y


def _ending(layer: Layer) -> _Ending:
    after = ["BIAS"] * (layer.bias is not None) + ["BINARY_ADD"] * (layer.added is not None)
    after += [layer.activation] * bool(layer.activation)
    return _Ending(layer.own_axis, layer.activation, after)


def _by_winograd(
    layer: Layer, g: geometry.Geometry, tile: int
) -> tuple[list[np.ndarray], Compute, Compute]:
    """The kernel is transformed once: written anew at each call it is up to four times as large."""
    numbers, ending = layer.eqn.params["dimension_numbers"], _ending(layer)
    kernel = layer.kernel.transpose(*numbers.rhs_spec[2:], *sorted(numbers.rhs_spec[:2]))
    transform = jax.jit(partial(winograd.transformed, g=g, tile=tile))
    kernels = [np.asarray(each) for each in transform(kernel)]

    def version(onednn: bool) -> Compute:
        def compute(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
            x = lax.transpose(x, _to_canonical(numbers.lhs_spec))
            y = winograd.convolve_with(x, kernels, g, tile, onednn=onednn)
            return ending.of(geometry.from_canonical(y, numbers), bias, added)

        return compute

    return kernels, version(False), version(True)


def _by_call(layer: Layer, g: geometry.Geometry) -> tuple[list[np.ndarray], Compute, Compute]:
    """One call for all of a layer. Its kernel lies as the call takes it, [*window, C, F]."""
    eqn, ending = layer.eqn, _ending(layer)
    numbers = eqn.params["dimension_numbers"]
    order = (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0])
    kernel = np.ascontiguousarray(layer.kernel.transpose(order))
    shape, back = kernel.shape, tuple(order.index(axis) for axis in range(len(order)))
    g = g._replace(kernel_transposed=False)
    product = None
    if _is_product(g):
        product = products.versions(kernel.reshape(shape[-2:]), g.pixels, ending.after)
        kernel = product.kernel

    def plain(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
        kernel = product.restored(kernels[0]).reshape(shape) if product else kernels[0]
        return ending.of(jax_internals.bind(eqn, x, lax.transpose(kernel, back)), bias, added)

    def call(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
        x = lax.transpose(x, _to_canonical(numbers.lhs_spec))
        if added is not None:
            added = lax.transpose(added, _to_canonical(numbers.out_spec))
        if product:
            x = geometry.window_slice(geometry.pad(x, g), (0,) * g.rank, g.strides, g.out)
            y = product.call(x, kernels, bias, added)
        else:
            operands = [each for each in (bias, added) if each is not None]
            y = calls.convolve(x, kernels[0], g, ending.after, operands)
        return geometry.from_canonical(y, numbers)

    return [kernel], plain, call


def _is_product(g: geometry.Geometry) -> bool:
    """Whether it is a product over the channels: oneDNN's convolution reorders its kernel anew."""
    undilated = max(g.base_dilation, default=1) == 1
    return undilated and pointwise.fits(g) and verdict.verdict().layers


def _to_canonical(spec: Sequence[int]) -> tuple[int, ...]:
    return (spec[0], *spec[2:], spec[1])


def _by_product(layer: Layer, plain: Compute) -> tuple[list[np.ndarray], Compute, Compute | None]:
    """A product over the last axis; or a convolution with a window of one pixel, as proved."""
    kernel, shape = np.asarray(layer.kernel), layer.aval.shape
    channels, features = kernel.shape
    after = _ending(layer).after
    rows = math.prod(shape[:-1])
    # of one row XLA's products are the faster ones: 4096 to 4096 in 5.6 ms of a core and not 9.5
    small = rows == 1 or rows * channels * features < choose.LEAST_ONEDNN
    if small or (len(shape) < 3 and not verdict.verdict().layers):
        return [kernel], plain, None
    if verdict.verdict().layers:
        product = products.versions(kernel, rows, after)

        def restored(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
            return plain(x, [product.restored(kernels[0])], bias, added)

        return [product.kernel], restored, product.call

    def call(x: Any, kernels: Sequence[Any], bias: Any, added: Any) -> jax.Array:
        x = x.reshape(shape[0], rows // shape[0], channels)
        operands = [] if bias is None else [bias]
        operands += [] if added is None else [added.reshape(shape[0], -1, features)]
        once, none = (1,), ((0, 0),)
        w = kernels[0][None]
        y = calls.convolution(x, w, once, none, once, after=after, operands=operands)
        return y.reshape(shape)

    return [kernel], plain, call
