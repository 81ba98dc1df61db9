"""A program of JAX as a graph of ONNX operators: equation by equation, loops as loops.

The library for this, jax2onnx 0.17, gave wrong numbers for max pooling with padding and failed for
batches of any size; see BUILD_NOTES.md. Here each rule is a few lines, and every file is run and
compared before it is kept.
"""

from typing import Any

import jax
import jax.dtypes
import numpy as np
from jax.extend import core

from cnn_jax import jax_internals
from cnn_jax.run.exporting import onnx_axes, onnx_elementwise, onnx_windows
from cnn_jax.run.exporting.onnx_graph import Graph, Value

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where an equation keeps the program that it calls
_FOLDED = 2**20  # elements up to which what depends on no input is computed here
# What comes of a random key, which layers carry along and evaluation does not use; a file with it
# would fail, as it is no name.
UNUSED = None
_AS_THEY_ARE = ("broadcast_in_dim",)


def convert(g: Graph, program: Any, inputs: list[Value]) -> list[Value]:
    """Adds the operators of a program (ClosedJaxpr) to a graph.

    Args:
        g: the graph.
        program: what `jax.make_jaxpr` gives.
        inputs: its inputs.

    Returns:
        Its outputs.

    Raises:
        NotImplementedError: an operation for which there is no rule.
    """
    jaxpr = program.jaxpr if hasattr(program, "consts") else program
    constants = getattr(program, "consts", ())
    known: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        if isinstance(atom, core.Literal):
            return np.asarray(atom.val, dtype_of(atom))
        return known[atom]

    known.update(zip(jaxpr.constvars, map(_constant, constants), strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        made = _equation(g, eqn, [read(atom) for atom in eqn.invars])
        outputs = made if eqn.primitive.multiple_results else [made]
        known.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def dtype_of(atom: Any) -> Any:
    return atom.aval.dtype


def _constant(value: Any) -> Value:
    return UNUSED if _is_key(value) else np.asarray(value)


def _is_key(value: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key)


def _equation(g: Graph, eqn: Any, values: list[Value]) -> Any:
    name = eqn.primitive.name
    if any(value is UNUSED for value in values) or any(_is_key(v.aval) for v in eqn.outvars):
        unused = [UNUSED] * len(eqn.outvars)
        return unused if eqn.primitive.multiple_results else UNUSED
    inner = next((eqn.params[key] for key in _INNER if key in eqn.params), None)
    if name == "while":
        return _while(g, eqn, values)
    if name == "scan":
        return _scan(g, eqn, values)
    if inner is None:
        inner = jax_internals.expanded(eqn)
    if inner is not None:
        return convert(g, inner, values)
    sizes = [n for var in eqn.outvars for n in var.aval.shape]
    static = all(isinstance(n, int) for n in sizes)
    constant = static and all(isinstance(value, np.ndarray) for value in values)
    most = max([_FOLDED, *(value.size for value in values if isinstance(value, np.ndarray))])
    if constant and name not in _AS_THEY_ARE and sum(map(_elements, eqn.outvars)) <= most:
        found = eqn.primitive.bind(*values, **eqn.params)
        return [*map(np.asarray, found)] if eqn.primitive.multiple_results else np.asarray(found)
    if name not in RULES:
        raise NotImplementedError(f"the operation {name}")
    return RULES[name](g, eqn, values)


def _elements(var: Any) -> int:
    return int(np.prod(var.aval.shape))


RULES = {**onnx_elementwise.RULES, **onnx_windows.RULES, **onnx_axes.RULES}


def _while(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    p = eqn.params
    first, second = p["cond_nconsts"], p["body_nconsts"]
    ahead, own, state = values[:first], values[first : first + second], values[first + second :]
    condition = p["cond_jaxpr"]
    axes = condition.out_avals[0].ndim  # under vmap each example has a condition of its own

    def any_of(inner: Graph, each: str) -> str:
        numbers = inner.cast(each, np.int32)
        return inner.cast(inner.reduce("ReduceMax", numbers, range(axes)), bool) if axes else each

    def goes_on(inner: Graph, carried: list[Value]) -> str:
        (each,) = convert(inner, condition, [*ahead, *carried])
        return inner.name(each)

    def body(inner: Graph, count: str, carried: list[Value]) -> tuple[str, list[Value], list]:
        new = [inner.name(value) for value in convert(inner, p["body_jaxpr"], [*own, *carried])]
        if axes:  # examples whose condition is no longer true stay as they are
            each = goes_on(inner, carried)
            for i, aval in enumerate(p["body_jaxpr"].out_avals):
                shape = [*aval.shape[:axes], *(1 for _ in aval.shape[axes:])]
                still = inner.reshape(each, shape)
                new[i] = inner.where(still, new[i], carried[i], aval.dtype)
        return any_of(inner, goes_on(inner, new)), new, []

    first_of_all = any_of(g, goes_on(g, state))
    return _loop(g, "", first_of_all, state, [var.aval for var in eqn.outvars], body)


def _scan(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    p = eqn.params
    constants, carry = jax_internals.scan_counts(eqn)
    own = values[:constants]
    state = values[constants : constants + carry]
    rows = [g.name(value) for value in values[constants + carry :]]
    length = g.reshape(g.size(p["length"]), [])
    if p["reverse"]:
        last = g.node("Sub", length, g.constant(1, np.int64))

    def body(inner: Graph, count: str, carried: list[Value]) -> tuple[str, list[Value], list]:
        place = inner.node("Sub", last, count) if p["reverse"] else count
        each = [inner.node("Gather", row, place, axis=0) for row in rows]
        new = convert(inner, p["jaxpr"], [*own, *carried, *each])
        return inner.constant(True), new[:carry], new[carry:]

    made = _loop(g, length, "", state, [v.aval for v in eqn.outvars], body)
    if p["reverse"]:
        least = np.iinfo(np.int64).min
        made[carry:] = [g.slice(y, [-1], [least], [0], [-1]) for y in made[carry:]]
    return made


def _loop(g: Graph, count: str, condition: str, state: list[Value], avals: list, body: Any) -> list:
    """ONNX's Loop: a count or a condition, state that is carried, and rows that are stacked."""
    helper, inner = g.onnx.helper, g.inner()
    number, going = inner.fresh("iteration"), inner.fresh("going")
    carried = [inner.fresh("state") for _ in state]
    again, new, rows = body(inner, number, list(carried))
    results = [inner.node("Identity", inner.name(v)) for v in (again, *new, *rows)]
    types = [aval.dtype for aval in avals]

    def info(name: str, dtype: Any, shape: Any = None) -> Any:
        return helper.make_tensor_value_info(name, g.type(dtype), shape)

    graph = helper.make_graph(
        inner.nodes,
        g.fresh("body"),
        [
            info(number, np.int64, ()),
            info(going, bool, ()),
            *(info(n, t) for n, t in zip(carried, types, strict=False)),
        ],
        [
            info(results[0], bool, ()),
            *(info(n, t) for n, t in zip(results[1:], types, strict=True)),
        ],
    )
    initial = [g.name(value) for value in state]
    made = g.node("Loop", count, condition, *initial, outputs=len(avals), body=graph)
    return [made] if len(avals) == 1 else list(made)
