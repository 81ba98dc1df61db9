"""Which activation function a few operations of a program are, told by what they compute."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.cpu.flat import Operation, Slot, compute

ELEMENTWISE = {
    *(
        "abs",
        "add",
        "and",
        "clamp",
        "copy",
        "div",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "ge",
        "gt",
    ),
    *(
        "integer_pow",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
    ),
    *("or", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "sub", "tanh"),
}
LONGEST = 12  # operations of the longest function that is looked for: GELU by tanh has eight
POINTS = np.concatenate([np.linspace(-12, 12, 97), [-1e-3, 1e-3, 0.0]]).astype(np.float32)
EQUAL = 2e-6


class Found(NamedTuple):
    """Attributes:
    name: one of `onednn.ACTIVATIONS`.
    operations: those that it consists of, by their place in the program.
    output: slot of its result.
    """

    name: str
    operations: list[int]
    output: Slot


def activation(
    program: Sequence[Operation], readers: Sequence[int], start: Slot, uses: Counter[Slot]
) -> Found | None:
    """The longest known function of `start` that alone reads it; None if there is none.

    Args:
        program: the operations.
        readers: places of the operations that may belong to it, in order.
        start: slot of its argument.
        uses: how often each slot is read.
    """
    left = {start: uses[start]}  # how often what the function makes is yet to be read
    values = {start: POINTS}
    members: list[int] = []
    best = None
    for place in readers:
        each = program[place]
        read = [value for value in each.inputs if isinstance(value, Slot)]
        if not any(slot in values for slot in read):
            continue
        if not _is_elementwise(each) or not all(slot in values for slot in read):
            return best
        for slot in read:
            left[slot] -= 1
        members.append(place)
        (output,) = each.outputs
        (values[output],) = (
            np.asarray(made) for made in compute(each.eqn, _at_points(each, values))
        )
        left[output] = uses[output]
        if all(count == 0 for slot, count in left.items() if slot != output):
            name = _name(values[output])
            best = Found(name, list(members), output) if name else best
        if len(members) == LONGEST:
            return best
    return best


def _is_elementwise(each: Operation) -> bool:
    known = [value for value in each.inputs if not isinstance(value, Slot)]
    return each.name in ELEMENTWISE and len(each.outputs) == 1 and all(map(_is_one_number, known))


def _is_one_number(value: object) -> bool:
    array = np.asarray(value)
    return all(
        size == 1 or step == 0 for size, step in zip(array.shape, array.strides, strict=True)
    )


def _at_points(each: Operation, values: dict[Slot, np.ndarray]) -> list[np.ndarray]:
    """The operands, with one number for each point."""
    return [
        values[value]
        if isinstance(value, Slot)
        else np.full(POINTS.shape, np.asarray(value).ravel()[0], np.asarray(value).dtype)
        for value in each.inputs
    ]


def _name(values: np.ndarray) -> str:
    for name, want in WANTED.items():
        if values.dtype == POINTS.dtype and np.allclose(values, want, rtol=EQUAL, atol=EQUAL):
            return name
    return ""


def _wanted() -> dict[str, np.ndarray]:
    """Each of `onednn.ACTIVATIONS` at the points, by numpy: within a program JAX would trace it."""
    x = POINTS.astype(np.float64)
    sigmoid = 1 / (1 + np.exp(-x))
    tanh = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return {
        "RELU": np.maximum(x, 0),
        "RELU6": np.clip(x, 0, 6),
        "SWISH": x * sigmoid,
        "SIGMOID": sigmoid,
        "GELU_ERF": x * np.array([1 + math.erf(each / math.sqrt(2)) for each in x]) / 2,
        "GELU_TANH": x * (1 + tanh) / 2,
    }


WANTED = _wanted()
