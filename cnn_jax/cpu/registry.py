"""Installs our lowering rules in JAX's registry for platform 'cpu', and removes them again.

JAX lowers each primitive to the compiler's language by a rule that it looks up by platform.
Autodiff, vmap, jit, sharding and export happen earlier and are not affected. If our rule does not
support a convolution (a symbolic or empty shape, integers, a case in which XLA is as good), it
calls the rule that it replaced.

The registry is not a documented interface. Everything we need of it is in `jax_internals`; if a
future JAX moves it, `install` warns and changes nothing.
"""

import itertools
import math
import numbers
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType

from cnn_jax import jax_internals
from cnn_jax.cpu import geometry, onednn, pointwise, pooling, trim, verdict
from cnn_jax.cpu.choose import choose, run, worth_onednn

LEAST_PRODUCT = 20_000_000  # multiplications from which a product is worth a call to oneDNN
# Rows of x from which oneDNN may transpose y. Measured for the input gradient of VGG's first fully
# connected layer, [25088, 4096]: 459 ms for 64 rows, and 121 by XLA; 44 and 47 for 1,024 rows
LEAST_ROWS = 1024

_stock: dict[str, Any] = {}  # the rules that ours replaced, by name of primitive


_refused: list[str] = []  # reason why the last `install` did nothing


def installed() -> bool:
    return bool(_stock)


def refused() -> str:
    """The reason why `install` left JAX unchanged; '' if it did not."""
    return _refused[0] if _refused else ""


def install() -> bool:
    """Registers our rules. False, with a warning, if JAX's registry is not as we know it."""
    if installed():
        return True
    done: dict[str, Any] = {}
    try:
        jax_internals.lower_function(lambda: None)  # our rules need it
        primitives = {name: jax_internals.primitive(name) for name in RULES}
        stock = {name: jax_internals.lowering_rule(p) for name, p in primitives.items()}
        for name, primitive in primitives.items():
            jax_internals.set_lowering_rule(primitive, RULES[name](stock[name].rule))
            done[name] = stock[name]
    except jax_internals.MovedError as error:
        _restore(done)
        _refused[:] = [str(error)]
        warnings.warn(
            f"cnn_jax.cpu does not know this JAX: {error}. Convolutions stay as XLA compiles them.",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    _stock.update(stock)
    _refused.clear()
    return True


def uninstall() -> None:
    """Restores the rules that ours replaced."""
    _restore(_stock)
    _stock.clear()


def _restore(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():  # a rule for all platforms also serves for this one
        jax_internals.restore_lowering_rule(jax_internals.primitive(name), entry)


def lowered(function: Callable, ctx, *operands):
    """Lowers `function` of arrays, under JAX's default settings.

    A user who forbids implicit broadcasting or mixed dtypes means the user's own operations.
    """
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        # a new function, which JAX caches only as long as it lives
        return jax_internals.lower_function(lambda *a: function(*a))(ctx, *operands)


def _convolution_rule(stock: Callable) -> Callable:
    def rule(ctx, x, w, **params):
        g = geometry_of(ctx, params)
        if g is None:
            return stock(ctx, x, w, **params)
        ranges = trim.live(g)
        by_onednn = _narrow(ctx) and worth_onednn(g) and verdict.usable(ctx)
        method = None if ranges else choose(g, _wants_exact(ctx, params), by_onednn)
        if ranges:
            fun = partial(trim.convolve, g=g, ranges=ranges, params=params)
        elif method is not None:
            fun = partial(run, method, g, params=params, by_onednn=by_onednn)
        elif min(sum(g.padding, ()), default=0) < 0:
            fun = partial(_cropped_first, params=params)
        else:
            return stock(ctx, x, w, **params)
        return lowered(fun, ctx, x, w)

    return rule


def _cropped_first(x: jax.Array, w: jax.Array, *, params: dict[str, Any]) -> jax.Array:
    """The same convolution without negative padding, for some of which XLA reads beyond the image.

    Measured with jax 0.10.2: x float32 [3, 4, 8], w [2, 3, 8], padding (-1, 1), which is the input
    gradient of a convolution with padding (2, 0), gave numbers up to 1e33. See BUILD_NOTES.md.
    """
    spatial = params["dimension_numbers"].lhs_spec[2:]
    crop, padding, dilation = [(0, 0, 0)] * x.ndim, [], []
    for axis, (low, high), base in zip(
        spatial, params["padding"], params["lhs_dilation"], strict=True
    ):
        if min(low, high) < 0:
            line = (x.shape[axis] - 1) * base + 1
            if line + min(low, 0) + min(high, 0) < 0:  # nothing is left, and less than nothing
                crop[axis] = (-line, 0, base - 1)
                low, high = line + low + high, 0
            else:
                crop[axis] = (min(low, 0), min(high, 0), base - 1)
            low, high, base = max(low, 0), max(high, 0), 1
        padding.append((low, high))
        dilation.append(base)
    x = lax.pad(x, jnp.zeros((), x.dtype), crop)
    params = {**params, "padding": tuple(padding), "lhs_dilation": tuple(dilation)}
    return jax_internals.primitive("conv_general_dilated").bind(x, w, **params)


def _wants_exact(ctx, params) -> bool:
    """Whether float64, or a precision above the default, asks for the rounding of a plain sum."""
    default = params["precision"] in (None, (lax.Precision.DEFAULT,) * 2)
    return not default or any(a.dtype == jnp.float64 for a in (*ctx.avals_in, *ctx.avals_out))


def _narrow(ctx) -> bool:
    """Whether sums are taken in float32, to which half precision is widened."""
    return all(a.dtype.itemsize <= 4 for a in (*ctx.avals_in, *ctx.avals_out))


def geometry_of(ctx, params) -> geometry.Geometry | None:
    """The Geometry of a convolution that our methods may run, else None."""
    x, w = ctx.avals_in
    (y,) = ctx.avals_out
    floating = all(jnp.issubdtype(a.dtype, jnp.floating) for a in (x, w, y)) and x.dtype == w.dtype
    if not floating or _explicit(params.get("out_sharding")):
        return None
    # jax 0.8 pads by numpy's integers, and users may too
    sizes = (*x.shape, *w.shape, *y.shape, *itertools.chain.from_iterable(params["padding"]))
    static = all(isinstance(n, numbers.Integral) for n in sizes)
    if not static:
        return None
    g = geometry.of(x.shape, w.shape, y.shape, params)
    if min((*x.shape, *w.shape, *y.shape)) == 0 or g.rank > 3:
        return None
    if g.rank == 0 and not pointwise.fits(g):
        return None  # groups without spatial axes: the methods work along those
    return g


def _explicit(sharding) -> bool:
    """Whether the program itself determines the sharding of the result.

    Gradients of arrays on a mesh name their sharding. If its axes are automatic, as by default, the
    choice is left to the compiler, and so we do too. If they are manual, as under `pmap` and
    `shard_map`, the result belongs to one device.
    """
    if sharding is None:
        return False
    return any(kind == AxisType.Explicit for kind in sharding.mesh.axis_types)


def _product_rule(stock: Callable) -> Callable:
    """Large float32 products, those of fully connected layers, by oneDNN if it can be used."""

    def rule(ctx, x, y, **params):
        shapes = [a.shape for a in (*ctx.avals_in, *ctx.avals_out)]
        static = all(isinstance(n, int) and n > 0 for shape in shapes for n in shape)
        single = all(a.dtype == jnp.float32 for a in (*ctx.avals_in, *ctx.avals_out))
        dimensions = params["dimension_numbers"]
        fits = static and single and not _explicit(params.get("out_sharding"))
        if fits and onednn.takes_product(shapes[0], shapes[1], dimensions):
            sums = math.prod(shapes[0][axis] for axis in dimensions[0][0])
            large = sums * math.prod(shapes[2]) >= LEAST_PRODUCT
            turned = max(dimensions[0][1]) == len(shapes[1]) - 1  # y is [N, K]
            rows = math.prod(shapes[0]) // sums
            if large and (rows >= LEAST_ROWS or not turned) and verdict.usable(ctx):
                return lowered(partial(_product, dimensions=dimensions), ctx, x, y)
        return stock(ctx, x, y, **params)

    return rule


def _product(x: jax.Array, y: jax.Array, *, dimensions) -> jax.Array:
    """oneDNN's product, with the kernel gradient of a fully connected layer in the final order.

    JAX asks for dy^T x and transposes the result. XLA merges that transposition into its own
    product, but has to carry it out after a call: 400 MB for VGG's first layer. If we compute
    x^T dy and transpose it, the two transpositions cancel.
    """
    all_but_last = tuple(range(x.ndim - 1)), tuple(range(y.ndim - 1))
    if dimensions == (all_but_last, ((), ())):
        return onednn.dot_general(y, x, dimensions, onednn=True).T
    return onednn.dot_general(x, y, dimensions, onednn=True)


def _pooling_rule(function: Callable) -> Callable:
    def wrap(stock: Callable) -> Callable:
        def rule(ctx, *operands, **params):
            floating = all(jnp.issubdtype(a.dtype, jnp.floating) for a in ctx.avals_in)
            sizes = [n for a in (*ctx.avals_in, *ctx.avals_out) for n in a.shape]
            static = all(isinstance(n, int) and n > 0 for n in sizes)
            if not (floating and static and pooling.fits(params["window_dimensions"])):
                return stock(ctx, *operands, **params)
            return lowered(partial(function, **params), ctx, *operands)

        return rule

    return wrap


RULES: dict[str, Callable] = {
    "conv_general_dilated": _convolution_rule,
    "dot_general": _product_rule,
    "reduce_window_max": _pooling_rule(pooling.reduce_max),
    "reduce_window_sum": _pooling_rule(pooling.reduce_sum),
    "select_and_gather_add": _pooling_rule(pooling.gather_selected),
    "select_and_scatter_add": _pooling_rule(pooling.scatter_selected),
}
