"""Multiply-adds of a function, counted from its jaxpr: nothing is compiled or run.

The convention is that of papers and torchvision's tables, which write "GFLOPs" for 10^9
multiply-adds: convolutions and matrix products count, everything else (normalisation, activation,
pooling, biases) does not. XLA's own count (`jax.jit(f).lower(...).cost_analysis()["flops"]`) is
twice ours, minus products with the zeros of the padding, plus everything else: for a convolutional
network the conventions differ by a few per cent, in either direction.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core


def multiply_adds(function: Callable, *args: Any, count_padding: bool = True, **kwargs: Any) -> int:
    """Multiply-adds of one call of `function`.

    A convolution counts its output times the size of its window; a transposed one its input times
    the size of its kernel, whatever its padding cuts off. A scan counts as often as it runs, a
    conditional as its costliest branch, and the body of a while loop once.

    >>> x = jax.ShapeDtypeStruct((8, 100), "float32")
    >>> w = jax.ShapeDtypeStruct((100, 10), "float32")
    >>> multiply_adds(jax.numpy.matmul, x, w)
    8000

    Args:
        function: a function of arrays.
        *args: arrays or `jax.ShapeDtypeStruct`s, in any pytree; **kwargs the same.
        count_padding: whether products with the zeros of the padding count, as in papers. Those
            that a transposed convolution lays around and between its inputs never count.
    """
    return _count(jax.make_jaxpr(function)(*args, **kwargs).jaxpr, count_padding)


def model_multiply_adds(
    model: Any, input_shape: tuple[int, ...], *, count_padding: bool = True
) -> int:
    """Multiply-adds of a Flax model in evaluation, for one input of shape (*space, C)."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jax.numpy.float32)
    init = lambda x: model.init(jax.random.key(0), x, train=False)  # noqa: E731
    variables = jax.eval_shape(init, x)
    apply = lambda v, x: model.apply(v, x, train=False)  # noqa: E731
    return multiply_adds(apply, variables, x, count_padding=count_padding)


def _count(jaxpr: core.Jaxpr, count_padding: bool = True) -> int:
    return sum(cost * times for _, cost, times in equation_costs(jaxpr, count_padding))


def equation_costs(
    jaxpr: core.Jaxpr, count_padding: bool = True
) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """(scopes around it, multiply-adds, number of runs) of every equation that has multiply-adds.

    The scopes are the names of `jax.named_scope`, outermost first: Flax's modules among them.
    """
    for equation in jaxpr.eqns:
        scopes = tuple(str(equation.source_info.name_stack).split("/"))
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        if cost := _own_cost(equation, count_padding):
            yield scopes, cost, 1
        for inner in _inner_jaxprs(equation):
            for deeper, cost, times in equation_costs(inner, count_padding):
                yield (*scopes, *deeper), cost, repeats * times


def _own_cost(equation: core.JaxprEqn, count_padding: bool) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        numbers = params["dimension_numbers"]
        out_channels = kernel[numbers.rhs_spec[0]]
        window = math.prod(kernel) // out_channels  # one group's input channels x the kernel's size
        products = math.prod(_shape(equation.outvars[0])) * window
        specs = (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)
        for i, (image, tap, place) in enumerate(zip(*(s[2:] for s in specs), strict=True)):
            pairs = kernel[tap] * _shape(equation.outvars[0])[place]
            if not count_padding:
                products = products // max(pairs, 1) * _pairs_met(equation, i, image, tap, place)
            elif _is_transposed(equation, i, kernel[tap]):
                met = kernel[tap] * _shape(equation.invars[0])[image]
                products = products // max(pairs, 1) * met
        return products
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)
    return 0


def _is_transposed(equation: core.JaxprEqn, i: int, taps: int) -> bool:
    """Whether each input meets each tap along axis i, as in a transposed convolution:
    zeros are laid between the inputs, or around them as many as the window reaches."""
    params = equation.params
    if params["window_strides"][i] != 1:
        return False
    reach = (taps - 1) * params["rhs_dilation"][i]
    return params["lhs_dilation"][i] > 1 or tuple(params["padding"][i]) == (reach, reach)


def _pairs_met(equation: core.JaxprEqn, i: int, image: int, window: int, out: int) -> int:
    """The number of pairs of an output position and a tap that meet a pixel, along axis i."""
    params = equation.params
    side, taps = _shape(equation.invars[0])[image], _shape(equation.invars[1])[window]
    places = np.arange(_shape(equation.outvars[0])[out])[:, None] * params["window_strides"][i]
    pixel = places + np.arange(taps) * params["rhs_dilation"][i] - params["padding"][i][0]
    source, off = np.divmod(pixel, params["lhs_dilation"][i])
    return int(((off == 0) & (source >= 0) & (source < side)).sum())


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
