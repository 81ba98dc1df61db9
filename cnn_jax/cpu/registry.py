"""Puts our lowering rules into JAX's registry for platform 'cpu', and takes them out again.

JAX translates each primitive to the compiler's language by a rule that it looks up by platform, and
takes further rules; autodiff, vmap, jit, sharding and export happen before it and do not notice.
Where a rule of ours does not want a convolution (a symbolic or empty shape, integers, a case in
which XLA is as good) it calls the rule it replaced.

The registry is not a documented interface. All that we need of it stands in `jax_internals`; if a
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

LEAST_PRODUCT = 20_000_000  # multiplications of a product that is worth a call to oneDNN
# Rows of x for which oneDNN may turn y round: measured 459 ms for 64 rows against [25088, 4096],
# the input gradient of VGG's first fully connected layer, and 121 by XLA; 44 and 47 for 1,024 rows
LEAST_ROWS = 1024

_stock: dict[str, Any] = {}  # what stood in the registry before us, by primitive name


_refused: list[str] = []  # why `install` did nothing, the last time


def installed() -> bool:
    return bool(_stock)


def refused() -> str:
    """Why `install` left JAX as it was; '' where it did not."""
    return _refused[0] if _refused else ""


def install() -> bool:
    """Registers our rules. False, with a warning, where JAX's registry is not as we know it."""
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
    """Puts the rules that we found back."""
    _restore(_stock)
    _stock.clear()


def _restore(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():  # one for all platforms serves as one for this as well
        jax_internals.restore_lowering_rule(jax_internals.primitive(name), entry)


def _lowered(function: Callable, ctx, *operands):
    """What `function` of arrays becomes, whatever the program around it has told JAX of its own.

    A user who has implicit broadcasting or mixed dtypes refused means the user's own operations.
    """
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        # a function of its own, for JAX to remember for as long as it lives
        return jax_internals.lower_function(lambda *a: function(*a))(ctx, *operands)


def _convolution_rule(stock: Callable) -> Callable:
    def rule(ctx, x, w, **params):
        g = _geometry(ctx, params)
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
        return _lowered(fun, ctx, x, w)

    return rule


def _cropped_first(x: jax.Array, w: jax.Array, *, params: dict[str, Any]) -> jax.Array:
    """The same convolution without negative padding: XLA's own reads beyond the picture for some.

    Measured with jax 0.10.2: x float32 [3, 4, 8], w [2, 3, 8], padding (-1, 1), which is the input
    gradient of a convolution with padding (2, 0), gave numbers up to 1e33. See BUILD_NOTES.md.
    """
    spatial = params["dimension_numbers"].lhs_spec[2:]
    crop, padding, dilation = [(0, 0, 0)] * x.ndim, [], []
    for axis, (low, high), base in zip(
        spatial, params["padding"], params["lhs_dilation"], strict=True
    ):
        if min(low, high) < 0:
            crop[axis] = (min(low, 0), min(high, 0), base - 1)
            low, high, base = max(low, 0), max(high, 0), 1
        padding.append((low, high))
        dilation.append(base)
    x = lax.pad(x, jnp.zeros((), x.dtype), crop)
    params = {**params, "padding": tuple(padding), "lhs_dilation": tuple(dilation)}
    return jax_internals.primitive("conv_general_dilated").bind(x, w, **params)


def _wants_exact(ctx, params) -> bool:
    """float64, or a precision above the default, ask for the rounding of a plain sum."""
    default = params["precision"] in (None, (lax.Precision.DEFAULT,) * 2)
    return not default or any(a.dtype == jnp.float64 for a in (*ctx.avals_in, *ctx.avals_out))


def _narrow(ctx) -> bool:
    """Whether sums are taken in float32: half precision is widened to it."""
    return all(a.dtype.itemsize <= 4 for a in (*ctx.avals_in, *ctx.avals_out))


def _geometry(ctx, params) -> geometry.Geometry | None:
    """The Geometry of a convolution that our methods may run, else None."""
    x, w = ctx.avals_in
    (y,) = ctx.avals_out
    floating = all(jnp.issubdtype(a.dtype, jnp.floating) for a in (x, w, y)) and x.dtype == w.dtype
    if not floating or _explicit(params.get("out_sharding")):
        return None
    # jax 0.8 pads by numpy's integers, and so may a user
    sizes = (*x.shape, *w.shape, *y.shape, *itertools.chain.from_iterable(params["padding"]))
    static = all(isinstance(n, numbers.Integral) for n in sizes)
    if not static:
        return None
    g = geometry.of(x.shape, w.shape, y.shape, params)
    if min((*x.shape, *w.shape, *y.shape)) == 0 or g.rank > 3:
        return None
    if g.rank == 0 and not pointwise.fits(g):
        return None  # groups of vectors: what the methods share out are axes of space
    return g


def _explicit(sharding) -> bool:
    """Whether the program says itself how the result lies on the devices.

    Gradients of arrays on a mesh name their sharding. Where its axes are automatic, as they are
    unless one asks otherwise, it leaves the choice to the compiler, and so do we; where they are
    manual, as under `pmap` and `shard_map`, the result is one device's own.
    """
    if sharding is None:
        return False
    return any(kind == AxisType.Explicit for kind in sharding.mesh.axis_types)


def _product_rule(stock: Callable) -> Callable:
    """Large float32 products, those of fully connected layers, by oneDNN where there is one."""

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
                return _lowered(partial(_product, dimensions=dimensions), ctx, x, y)
        return stock(ctx, x, y, **params)

    return rule


def _product(x: jax.Array, y: jax.Array, *, dimensions) -> jax.Array:
    """oneDNN's, the kernel gradient of a fully connected layer in the order in which it is wanted.

    JAX asks for it as dy^T x and turns the result. XLA takes that turn into its own product, but
    would have to carry it out behind a call: 400 MB for VGG's first layer. Of x^T dy, turned once
    here and once by JAX, nothing is left to turn.
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
            return _lowered(partial(function, **params), ctx, *operands)

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
