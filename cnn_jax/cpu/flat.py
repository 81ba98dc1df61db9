"""A traced program as one list of operations, with everything that depends on no input computed.

`cnn_jax.cpu.freeze` works on this form: jitted functions, custom derivatives and rematerialisation
are gone, since they mean nothing in inference, and so is what no output depends on. Loops and
branches stay operations.
"""

import numbers
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from cnn_jax import jax_internals

INNER = {  # operations that stand for a program of their own, and where they keep it
    "jit": "jaxpr",
    "pjit": "jaxpr",  # its name until JAX 0.7
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


class Slot(int):
    """The number of a value that depends on an input."""


Value = Any  # a Slot, or a value that is known: an array


class Operation(NamedTuple):
    """Attributes:
    eqn: the equation of JAX's program, of which only primitive, parameters and shapes count.
    inputs: slots and known values.
    outputs: slots.
    """

    eqn: Any
    inputs: tuple[Value, ...]
    outputs: tuple[Slot, ...]

    @property
    def name(self) -> str:
        return self.eqn.primitive.name

    @property
    def aval(self) -> Any:
        """Shape and dtype of the first output."""
        return self.eqn.outvars[0].aval


class Program(NamedTuple):
    """Attributes:
    inputs: slots of the inputs.
    operations: in an order in which they can be carried out.
    outputs: slots and known values.
    """

    inputs: tuple[Slot, ...]
    operations: list[Operation]
    outputs: list[Value]

    def uses(self) -> Counter[Slot]:
        """How often each slot is read; that of an output counts once more."""
        read = [value for each in self.operations for value in each.inputs]
        return Counter(value for value in (*read, *self.outputs) if isinstance(value, Slot))


def flatten(traced: Any) -> Program:
    """The flat form of what `jax.make_jaxpr` gives (a ClosedJaxpr)."""
    made = _Flattening()
    inputs = tuple(made.slot() for _ in traced.jaxpr.invars)
    outputs = made.walk(traced.jaxpr, traced.consts, inputs)
    return _without_unused(Program(inputs, made.operations, outputs))


class _Flattening:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.count = 0

    def slot(self) -> Slot:
        self.count += 1
        return Slot(self.count - 1)

    def walk(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        known: dict[Any, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Value:
            if isinstance(atom, core.Literal):
                return np.asarray(atom.val, getattr(atom.aval, "dtype", None))
            return known[atom]

        for eqn in jaxpr.eqns:
            values = tuple(read(atom) for atom in eqn.invars)
            known.update(zip(eqn.outvars, self._equation(eqn, values), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, values: tuple[Value, ...]) -> Sequence[Value]:
        name = eqn.primitive.name
        inner = eqn.params[INNER[name]] if name in INNER else jax_internals.expanded(eqn)
        if inner is not None:
            return self.walk(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), values)
        known = not any(isinstance(value, Slot) for value in values)
        if known and not eqn.effects and all(map(_is_static, eqn.outvars)):
            return _known(eqn, values)
        outputs = tuple(self.slot() for _ in eqn.outvars)
        self.operations.append(Operation(eqn, values, outputs))
        return outputs


def compute(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """The outputs of an equation for these values: arrays, or tracers under a transformation."""
    made = jax_internals.bind(eqn, *values)
    return list(made) if eqn.primitive.multiple_results else [made]


def _is_static(var: Any) -> bool:
    """Whether its shape is numbers: exported programs may have symbols for sizes."""
    return all(isinstance(size, numbers.Integral) for size in var.aval.shape)


def _known(eqn: Any, values: tuple[Value, ...]) -> list[Any]:
    """The outputs of an equation whose inputs are known."""
    if _spreads(eqn, values):
        return [_broadcast(values[0], eqn)]
    made = _by_numpy(eqn, values)
    return compute(eqn, values) if made is None else [made]


def _by_numpy(eqn: Any, values: tuple[Value, ...]) -> np.ndarray | None:
    """The same by numpy, for what batch norms consist of: JAX would compile each for its shape."""
    function = NUMPY.get(eqn.primitive.name)
    if function is None or any(each.aval.dtype != np.float32 for each in eqn.invars):
        return None
    with np.errstate(all="ignore"):
        made = np.asarray(function(*map(np.asarray, values), **_read(eqn)))
    aval = eqn.outvars[0].aval
    return made if (made.shape, made.dtype) == (aval.shape, aval.dtype) else None


NUMPY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "exp": np.exp,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: np.float32(1) / np.sqrt(x),
    "reshape": lambda x, shape: x.reshape(shape),
    "squeeze": lambda x, shape: x.reshape(shape),
    "transpose": lambda x, axes: x.transpose(axes),
}


def _read(eqn: Any) -> dict[str, Any]:
    """The parameters of `NUMPY`'s function."""
    name = eqn.primitive.name
    if name in ("reshape", "squeeze"):
        return {"shape": eqn.outvars[0].aval.shape}
    return {"axes": eqn.params["permutation"]} if name == "transpose" else {}


def _spreads(eqn: Any, values: tuple[Value, ...]) -> bool:
    plain = eqn.primitive.name == "broadcast_in_dim" and len(values) == 1
    return plain and not jax.dtypes.issubdtype(eqn.outvars[0].aval.dtype, jax.dtypes.extended)


def _broadcast(value: Any, eqn: Any) -> np.ndarray:
    """By numpy, as a view: what was one number stays one."""
    shape, axes = eqn.outvars[0].aval.shape, eqn.params["broadcast_dimensions"]
    value = np.asarray(value, eqn.outvars[0].aval.dtype)
    sizes = [1] * len(shape)
    for axis, size in zip(axes, value.shape, strict=True):
        sizes[axis] = size
    return np.broadcast_to(value.reshape(sizes), shape)


def _without_unused(program: Program) -> Program:
    needed = {value for value in program.outputs if isinstance(value, Slot)}
    kept = []
    for each in reversed(program.operations):
        if each.eqn.effects or needed.intersection(each.outputs):
            kept.append(each)
            needed.update(value for value in each.inputs if isinstance(value, Slot))
    return program._replace(operations=kept[::-1])
