"""JAX's operations on single numbers, and reductions, as operators of ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cnn_jax.run.exporting.onnx_graph import Broadcast, Graph, Value

Rule = Callable[[Graph, Any, list[Value]], Any]  # (graph, equation, its inputs) -> its outputs


def operands(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    """The names of the inputs of an operator that broadcasts to the output's shape."""
    shape = tuple(eqn.outvars[0].aval.shape)
    whole = any(
        not isinstance(value, Broadcast) and tuple(var.aval.shape) == shape
        for var, value in zip(eqn.invars, values, strict=True)
    )
    loose = [v.base if isinstance(v, Broadcast) and whole else v for v in values]
    return [g.name(value) for value in loose]


def _plain(op: str) -> Rule:
    return lambda g, eqn, values: g.node(op, *operands(g, eqn, values))


def _of_operands(function: Callable[..., str]) -> Rule:
    """A rule of (graph, equation, *names of inputs)."""
    return lambda g, eqn, values: function(g, eqn, *operands(g, eqn, values))


def _like(g: Graph, eqn: Any, value: float) -> str:
    return g.constant(value, eqn.invars[0].aval.dtype)


def _select(g: Graph, eqn: Any, values: list[Value]) -> str:
    which, *cases = operands(g, eqn, values)
    if len(cases) != 2:
        raise NotImplementedError(f"select_n of {len(cases)} cases")
    if eqn.invars[0].aval.dtype != bool:
        which = g.cast(which, bool)
    return g.where(which, cases[1], cases[0], eqn.outvars[0].aval.dtype)


def _power(g: Graph, eqn: Any, x: str) -> str:
    y = eqn.params["y"]
    if y == 2:
        return g.node("Mul", x, x)
    return g.node("Pow", x, _like(g, eqn, y))


def _convert(g: Graph, eqn: Any, values: list[Value]) -> Value:
    (value,) = values
    dtype = eqn.params["new_dtype"]
    if eqn.invars[0].aval.dtype == dtype:
        return value
    if isinstance(value, Broadcast):
        return Broadcast(g.cast(g.name(value.base), dtype), value.shape)
    return g.cast(g.name(value), dtype)


def _boolean(op: str, other: str) -> Rule:
    """A rule for truth values, and for integers where ONNX has an operator for their bits."""

    def rule(g: Graph, eqn: Any, values: list[Value]) -> str:
        truth = eqn.outvars[0].aval.dtype == bool
        return g.node(op if truth else other, *operands(g, eqn, values))

    return rule


def _comparison(op: str) -> Rule:
    def rule(g: Graph, eqn: Any, values: list[Value]) -> str:
        names = operands(g, eqn, values)
        if eqn.invars[0].aval.dtype == bool and op != "Equal":
            names = [g.cast(name, np.int32) for name in names]
        return g.node(op, *names)

    return rule


def _not_equal(g: Graph, eqn: Any, values: list[Value]) -> str:
    return g.node("Not", g.node("Equal", *operands(g, eqn, values)))


def _reduction(op: str) -> Rule:
    def rule(g: Graph, eqn: Any, values: list[Value]) -> str:
        return g.reduce(op, g.name(values[0]), eqn.params["axes"])

    return rule


def _truth(op: str) -> Rule:
    """Whether any, or all, are true."""

    def rule(g: Graph, eqn: Any, values: list[Value]) -> str:
        numbers = g.cast(g.name(values[0]), np.int32)
        return g.cast(g.reduce(op, numbers, eqn.params["axes"]), bool)

    return rule


def _best(op: str) -> Rule:
    def rule(g: Graph, eqn: Any, values: list[Value]) -> str:
        (axis,) = eqn.params["axes"]
        found = g.node(op, g.name(values[0]), axis=axis, keepdims=0)
        return g.cast(found, eqn.params["index_dtype"])

    return rule


def _cumulative_sum(g: Graph, eqn: Any, values: list[Value]) -> str:
    axis = g.constant(eqn.params["axis"], np.int64)
    return g.node("CumSum", g.name(values[0]), axis, reverse=int(eqn.params["reverse"]))


def _same(g: Graph, eqn: Any, values: list[Value]) -> Any:
    return values if eqn.primitive.multiple_results else values[0]


def _one_minus_erf(g: Graph, eqn: Any, x: str) -> str:
    return g.node("Sub", _like(g, eqn, 1), g.node("Erf", x))


RULES: dict[str, Rule] = {
    **{
        name: _plain(op)
        for name, op in {
            "abs": "Abs", "add": "Add", "add_any": "Add", "ceil": "Ceil", "cos": "Cos",
            "div": "Div", "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log",
            "logistic": "Sigmoid", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg",
            "pow": "Pow", "round": "Round", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt",
            "sub": "Sub", "tanh": "Tanh",
        }.items()
    },
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier"), _same),
    "and": _boolean("And", "BitwiseAnd"),
    "or": _boolean("Or", "BitwiseOr"),
    "xor": _boolean("Xor", "BitwiseXor"),
    "not": _boolean("Not", "BitwiseNot"),
    "eq": _comparison("Equal"),
    "ge": _comparison("GreaterOrEqual"),
    "gt": _comparison("Greater"),
    "le": _comparison("LessOrEqual"),
    "lt": _comparison("Less"),
    "ne": _not_equal,
    "select_n": _select,
    "convert_element_type": _convert,
    "integer_pow": _of_operands(_power),
    "square": _of_operands(lambda g, eqn, x: g.node("Mul", x, x)),
    "rsqrt": _of_operands(lambda g, eqn, x: g.node("Reciprocal", g.node("Sqrt", x))),
    "rem": _of_operands(lambda g, eqn, x, y: g.node("Mod", x, y, fmod=1)),
    "erfc": _of_operands(_one_minus_erf),
    "exp2": _of_operands(lambda g, eqn, x: g.node("Pow", _like(g, eqn, 2), x)),
    "expm1": _of_operands(
        lambda g, eqn, x: g.node("Sub", g.node("Exp", x), _like(g, eqn, 1))
    ),
    "log1p": _of_operands(lambda g, eqn, x: g.node("Log", g.node("Add", x, _like(g, eqn, 1)))),
    "is_finite": _of_operands(
        lambda g, eqn, x: g.node("Less", g.node("Abs", x), _like(g, eqn, np.inf))
    ),
    "clamp": _of_operands(
        lambda g, eqn, low, x, high: g.node("Min", g.node("Max", x, low), high)
    ),
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_prod": _reduction("ReduceProd"),
    "reduce_or": _truth("ReduceMax"),
    "reduce_and": _truth("ReduceMin"),
    "argmax": _best("ArgMax"),
    "argmin": _best("ArgMin"),
    "cumsum": _cumulative_sum,
}  # fmt: skip
