"""Finds the inputs that a value depends on, along one axis, from a jaxpr: nothing is computed.

Along the chosen axis of the input every index of a value depends on an interval of indices, and
each primitive maps intervals to intervals: a convolution unites those in its window, an addition
those of its operands, a transposition changes their axis. The values of weights and data play no
role, so this is what *can* matter: a weight of zero or a dead ReLU still counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from cnn_jax.analysis.interval_rules import MIXING, ONE_OPERAND, concatenate, dot, split
from cnn_jax.analysis.intervals import Interval, Known, united


def named_intervals(jaxpr: core.ClosedJaxpr, position: int, axis: int) -> dict[str, Interval]:
    """The intervals of every value named by `checkpoint_name`, and of the outputs.

    Args:
        jaxpr: jaxpr of a function of flat arguments.
        position: index of the argument that is the input.
        axis: axis of the input.

    Returns:
        name -> Interval; the outputs are called 'output 0', 'output 1', ...
    """
    tracer = _Tracer()
    known: list[Known] = [None] * len(jaxpr.jaxpr.invars)
    indices = np.arange(jaxpr.jaxpr.invars[position].aval.shape[axis])
    known[position] = Interval(axis, indices, indices, np.zeros(len(indices), bool))
    for i, output in enumerate(tracer.run(jaxpr.jaxpr, known)):
        if output is not None:
            tracer.named[f"output {i}"] = output
    return tracer.named


class _Tracer:
    def __init__(self):
        self.named: dict[str, Interval] = {}

    def run(self, jaxpr: core.Jaxpr, inputs: Sequence[Known]) -> list[Known]:
        known: dict[Any, Known] = dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variable: Any) -> Known:
            return None if isinstance(variable, core.Literal) else known.get(variable)

        for equation in jaxpr.eqns:
            operands = [read(variable) for variable in equation.invars]
            if any(operand is not None for operand in operands):
                outputs = self._apply(equation, operands)
                known.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _apply(self, equation: core.JaxprEqn, operands: list[Known]) -> list[Known]:
        name, params = equation.primitive.name, equation.params
        if name == "name":
            assert operands[0] is not None
            self.named[params["name"]] = operands[0]
            return operands
        if name == "cond":
            each = [self.run(branch.jaxpr, operands[1:]) for branch in params["branches"]]
            return [united(outputs) for outputs in zip(*each, strict=True)]
        if name == "scan":
            return self._scan(equation, operands)
        if name not in MIXING:
            for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
                if key in params:
                    inner = params[key]
                    inner = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
                    return self.run(inner, operands)
        shapes = [_shape(variable) for variable in equation.invars]
        outs = [_shape(variable) for variable in equation.outvars]
        if name == "concatenate":
            return [concatenate(operands, shapes, params["dimension"])]
        if name == "split":
            return list(split(operands[0], params["axis"], params["sizes"]))
        if name in ONE_OPERAND and all(operand is None for operand in operands[1:]):
            assert operands[0] is not None
            return [ONE_OPERAND[name](operands[0], shapes, outs[0], params)] * len(outs)
        if name == "dot_general":
            return [dot(operands, shapes, params["dimension_numbers"])]
        if name in MIXING or not all(_spreads(shape, outs[0]) for shape in shapes):
            return [united([known and known.everywhere() for known in operands])] * len(outs)
        # elementwise; an axis of length 1 is broadcast against the others
        pairs = zip(operands, shapes, strict=True)
        spread = [known and _broadcast_to(known, shape, outs[0]) for known, shape in pairs]
        return [united(spread)] * len(outs)

    def _scan(self, equation: core.JaxprEqn, operands: list[Known]) -> list[Known]:
        """A loop, step by step, such as that of `nn.scan` over layers."""
        params = equation.params
        constants, carries = _scan_parts(params)
        first, last = constants, constants + carries
        fixed, carried, read = operands[:first], operands[first:last], operands[last:]
        if any(known is not None and known.axis == 0 for known in read):  # a loop over positions
            mixed = united([known and known.everywhere() for known in operands])
            return [mixed] * len(equation.outvars)
        read = [
            known and known.moved(None if known.axis is None else known.axis - 1) for known in read
        ]
        written: list[Known] = [None] * (len(equation.outvars) - len(carried))
        for _ in range(params["length"]):
            outputs = self.run(
                getattr(params["jaxpr"], "jaxpr", params["jaxpr"]), [*fixed, *carried, *read]
            )
            before, carried = carried, outputs[: len(carried)]
            rows = [
                known and known.moved(None if known.axis is None else known.axis + 1)
                for known in outputs[len(carried) :]
            ]
            written = [united(pair) for pair in zip(written, rows, strict=True)]
            if all(map(_same, before, carried)):
                break
        return [*carried, *written]


def _scan_parts(params: Any) -> tuple[int, int]:
    """The numbers of a scan's constants and of the values that it carries along."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].unpack()  # from JAX 0.12
    return len(constants), len(carries)


def _same(one: Known, other: Known) -> bool:
    if one is None or other is None:
        return one is other
    pairs = zip(one[1:], other[1:], strict=True)
    return one.axis == other.axis and all(np.array_equal(a, b) for a, b in pairs)


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _spreads(shape: tuple, out: tuple) -> bool:
    """Whether an operand of this shape is combined with `out` elementwise."""
    same_rank = len(shape) == len(out)
    return not shape or (same_rank and all(n in (1, m) for n, m in zip(shape, out, strict=True)))


def _broadcast_to(known: Interval, shape: tuple, out: tuple) -> Interval:
    if known.axis is None or shape[known.axis] == out[known.axis]:
        return known
    return known.everywhere()
