"""Our lowering rules in JAX's registry for GPUs, and out of it again.

A rule asks a table for the method of an operation, by its `key`. What is not in the table, and what
our methods do not take (integers, symbolic shapes, shardings that a program names), goes to the
rule that was there before.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from cnn_jax import jax_internals
from cnn_jax.cpu import registry as cpu_registry
from cnn_jax.gpu import operations
from cnn_jax.gpu.operations import Operation

GPUS = ("cuda", "rocm")

_stock: dict[tuple[str, str], Any] = {}  # (primitive, platform) -> the rule that ours replaced


def install(table: Mapping[str, str], platforms: tuple[str, ...]) -> None:
    """Lowers by the table from now on.

    Args:
        table: key of an operation -> method.
        platforms: names as JAX's registry has them: 'cuda', 'rocm'.

    Raises:
        jax_internals.MovedError: JAX's registry is not as we know it.
    """

    def method_of(found: Operation) -> str | None:
        return table.get(found.key)

    _register(method_of, platforms)
    jax.clear_caches()  # programs compiled under the old rules must not be reused


def uninstall() -> None:
    """Restores the rules that ours replaced."""
    if _stock:
        _restore()
        jax.clear_caches()


def _restore() -> None:
    for (name, platform), entry in _stock.items():
        jax_internals.restore_lowering_rule(jax_internals.primitive(name), entry, platform)
    _stock.clear()


def operations_of(function: Callable, *args: Any, platform: str) -> list[Operation]:
    """The operations of a function that our methods can do, each once: nothing is run.

    Args:
        function: of arrays; it is lowered once.
        *args: arrays or `jax.ShapeDtypeStruct`s.
        platform: to lower for, see `install`.
    """
    found: dict[str, Operation] = {}

    def remember(one: Operation) -> None:
        if one.candidates():
            found.setdefault(one.key, one)

    assert not _stock, "called with our rules in force"
    _register(remember, (platform,))
    try:
        # a new function, for which JAX has nothing in its caches
        jax.jit(lambda *a: function(*a)).trace(*args).lower(lowering_platforms=(platform,))
    finally:
        _restore()
    return list(found.values())


def _register(method_of: Callable[[Operation], str | None], platforms: tuple[str, ...]) -> None:
    jax_internals.lower_function(lambda: None)  # our rules need it
    every = [(name, platform) for name in operations.PRIMITIVES for platform in platforms]
    before = {
        (name, platform): jax_internals.lowering_rule(jax_internals.primitive(name), platform)
        for name, platform in every
    }
    for (name, platform), entry in before.items():
        rule = _rule(name, entry.rule, method_of)
        jax_internals.set_lowering_rule(jax_internals.primitive(name), rule, platform)
        _stock[name, platform] = entry


def _rule(name: str, stock: Callable, method_of: Callable[[Operation], str | None]) -> Callable:
    def rule(ctx, x, y, **params):
        one = operations.of(name, ctx, params)
        method = None if one is None else method_of(one)
        if one is None or method is None or method not in one.candidates():
            return stock(ctx, x, y, **params)
        return cpu_registry.lowered(partial(one.run, method), ctx, x, y)

    return rule
