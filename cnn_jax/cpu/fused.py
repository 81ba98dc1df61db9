"""A function with a faster version for programs on one CPU.

Which one runs is decided where a program is compiled, when it is known for what: an exported
program, one for several devices or for another platform, and one that is differentiated or mapped
has the plain version, and so works like any other of JAX.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive

from cnn_jax import jax_internals
from cnn_jax.cpu import verdict

Function = Callable[..., jax.Array]


class _Versions:
    """The two versions of a function, and its result. Each is equal to itself alone."""

    def __init__(self, plain: Function, fast: Function, result: jax.ShapeDtypeStruct):
        self.plain, self.fast, self.result = plain, fast, result


def fused(plain: Function, fast: Function, result: jax.ShapeDtypeStruct) -> Function:
    """`plain`, with `fast` in its place in programs for one CPU that may call oneDNN.

    Args:
        plain: a function of arrays, which can be differentiated and mapped.
        fast: the same function, which need not be.
        result: shape and dtype of its result.
    """
    versions = _Versions(plain, fast, result)

    @jax.custom_batching.custom_vmap
    def once(*operands: Any) -> jax.Array:
        return _primitive().bind(*operands, versions=versions)

    @once.def_vmap  # type: ignore[untyped-decorator]
    def _(size: int, batched: list[bool], *operands: Any) -> tuple[jax.Array, bool]:
        del size
        return jax.vmap(plain, [0 if each else None for each in batched])(*operands), True

    @jax.custom_jvp
    def run(*operands: Any) -> jax.Array:
        return once(*operands)

    def derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        """By the operands that change: kernels usually do not."""
        zero = jax.custom_derivatives.SymbolicZero
        moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, zero)]

        def of_moving(*given: Any) -> jax.Array:
            operands = list(primals)
            for place, each in zip(moving, given, strict=True):
                operands[place] = each
            return plain(*operands)

        return jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])

    run.defjvp(derivative, symbolic_zeros=True)

    return run


@functools.cache
def _primitive() -> Any:
    made = Primitive("cnn_jax_fused")
    made.def_impl(lambda *operands, versions: jax.jit(versions.fast)(*operands))
    made.def_abstract_eval(
        lambda *avals, versions: avals[0].update(
            shape=versions.result.shape, dtype=versions.result.dtype, weak_type=False
        )
    )

    def everywhere(ctx: Any, *operands: Any, versions: _Versions) -> Any:
        return _lowered(versions.plain, ctx, operands)

    def on_cpu(ctx: Any, *operands: Any, versions: _Versions) -> Any:
        chosen = versions.fast if verdict.usable(ctx) else versions.plain
        return _lowered(chosen, ctx, operands)

    jax_internals.register_rules(made, everywhere, on_cpu)
    return made


def _lowered(function: Function, ctx: Any, operands: Any) -> Any:
    """Under JAX's default settings: what a user forbids means the user's own operations."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return jax_internals.lower_function(lambda *a: function(*a))(ctx, *operands)
