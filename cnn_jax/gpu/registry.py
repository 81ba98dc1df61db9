"""Our lowering rule for convolutions in JAX's registry for GPUs, and out of it again.

The rule asks a table for the method of a convolution, by `key`. What is not in the table, and what
our methods do not take (integers, symbolic shapes, shardings that a program names), goes to the
rule that was there before.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from cnn_jax import jax_internals
from cnn_jax.cpu import registry as cpu_registry
from cnn_jax.cpu.geometry import Geometry
from cnn_jax.gpu import methods

GPUS = ("cuda", "rocm")
PRIMITIVE = "conv_general_dilated"

_stock: dict[str, Any] = {}  # platform -> the rule that ours replaced


class Convolution(NamedTuple):
    """A convolution as a program has it.

    Attributes:
        g: its sizes.
        params: those of the primitive.
        operands: shapes and dtypes of x and w.
    """

    g: Geometry
    params: dict[str, Any]
    operands: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]

    @property
    def key(self) -> str:
        """What a verdict is kept under: sizes, order of the axes, dtypes and precision."""
        x, w = self.operands
        spec = "/".join("".join(map(str, s)) for s in self.params["dimension_numbers"])
        sizes = "x".join(map(str, x.shape)), "x".join(map(str, w.shape))
        g = self.g
        steps = f"s{g.strides} p{g.padding} b{g.base_dilation} d{g.window_dilation}"
        groups = f"g{g.feature_groups},{g.batch_groups}"
        kinds = f"{x.dtype} {self.params['preferred_element_type']} {self.params['precision']}"
        return f"{'*'.join(sizes)} {spec} {steps} {groups} {kinds}"


def install(table: Mapping[str, str], platforms: tuple[str, ...]) -> None:
    """Lowers by the table from now on.

    Args:
        table: key of a convolution -> method.
        platforms: names as JAX's registry has them: 'cuda', 'rocm'.

    Raises:
        jax_internals.MovedError: JAX's registry is not as we know it.
    """

    def method_of(found: Convolution) -> str | None:
        return table.get(found.key)

    _register(method_of, platforms)
    jax.clear_caches()  # programs compiled under the old rules must not be reused


def uninstall() -> None:
    """Restores the rules that ours replaced."""
    if _stock:
        _restore()
        jax.clear_caches()


def _restore() -> None:
    primitive = jax_internals.primitive(PRIMITIVE)
    for platform, entry in _stock.items():
        jax_internals.restore_lowering_rule(primitive, entry, platform)
    _stock.clear()


def convolutions_of(function: Callable, *args: Any, platform: str) -> list[Convolution]:
    """The convolutions of a function that our methods can do, each once: nothing is run.

    Args:
        function: of arrays; it is lowered once.
        *args: arrays or `jax.ShapeDtypeStruct`s.
        platform: to lower for, see `install`.
    """
    found: dict[str, Convolution] = {}

    def remember(one: Convolution) -> None:
        if methods.candidates(one.g):
            found.setdefault(one.key, one)

    assert not _stock, "called with our rules in force"
    _register(remember, (platform,))
    try:
        # a new function, for which JAX has nothing in its caches
        jax.jit(lambda *a: function(*a)).trace(*args).lower(lowering_platforms=(platform,))
    finally:
        _restore()
    return list(found.values())


def _register(method_of: Callable[[Convolution], str | None], platforms: tuple[str, ...]) -> None:
    primitive = jax_internals.primitive(PRIMITIVE)
    jax_internals.lower_function(lambda: None)  # our rules need it
    before = {p: jax_internals.lowering_rule(primitive, p) for p in platforms}
    for platform, entry in before.items():
        rule = _rule(entry.rule, method_of)
        jax_internals.set_lowering_rule(primitive, rule, platform)
        _stock[platform] = entry


def _rule(stock: Callable, method_of: Callable[[Convolution], str | None]) -> Callable:
    def rule(ctx, x, w, **params):
        g = cpu_registry.geometry_of(ctx, params)
        if g is None:
            return stock(ctx, x, w, **params)
        first, second = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in ctx.avals_in)
        method = method_of(Convolution(g, params, (first, second)))
        if method is None or method not in methods.candidates(g):
            return stock(ctx, x, w, **params)
        return cpu_registry.lowered(partial(methods.run, method, g, params), ctx, x, w)

    return rule
