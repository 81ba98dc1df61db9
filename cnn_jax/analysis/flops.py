"""Multiply-adds of a function, counted from its jaxpr: nothing is compiled or run.

The convention is that of the papers and of torchvision's tables, which write "GFLOPs" for 10^9
multiply-adds: convolutions and matrix products count, everything else (normalisation, activation,
pooling, biases) does not.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def multiply_adds(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Multiply-adds of one call of `function`.

    A convolution counts its output times the size of the window it reads; the zeros that a
    transposed convolution spreads its input with are left out. A scan counts as often as it runs,
    a conditional as its costliest branch, the body of a while loop once.

    Args:
        function: of arrays.
        *args: arrays or `jax.ShapeDtypeStruct`s, in any pytree; **kwargs the same.
    """
    return _count(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def model_multiply_adds(model: Any, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of a Flax model in evaluation, for one input of shape (*space, C)."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jax.numpy.float32)
    init = lambda x: model.init(jax.random.key(0), x, train=False)  # noqa: E731
    variables = jax.eval_shape(init, x)
    return multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, x)


def _count(jaxpr: core.Jaxpr) -> int:
    return sum(cost * times for _, cost, times in equation_costs(jaxpr))


def equation_costs(jaxpr: core.Jaxpr) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """(scopes around it, multiply-adds, times it runs) of every equation that has some.

    The scopes are the names of `jax.named_scope`, outermost first: Flax's modules among them.
    """
    for equation in jaxpr.eqns:
        scopes = tuple(str(equation.source_info.name_stack).split("/"))
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        if cost := _own_cost(equation):
            yield scopes, cost, 1
        for inner in _inner_jaxprs(equation):
            for deeper, cost, times in equation_costs(inner):
                yield (*scopes, *deeper), cost, repeats * times


def _own_cost(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        numbers = params["dimension_numbers"]
        out_channels = kernel[numbers.rhs_spec[0]]
        window = math.prod(kernel) // out_channels  # one group's input channels x the kernel's size
        outputs = math.prod(_shape(equation.outvars[0]))
        return outputs * window // math.prod(params["lhs_dilation"])
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)
    return 0


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_jaxprs(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    if equation.primitive.name == "cond":
        yield max((branch.jaxpr for branch in equation.params["branches"]), key=_count)
        return
    for key, value in equation.params.items():
        if key in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd"):  # only for differentiation
            continue
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
