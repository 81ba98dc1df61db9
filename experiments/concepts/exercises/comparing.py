"""Answers of a learner beside JAX's."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.exercises import references
from experiments.concepts.exercises.exercise import Case, Function
from experiments.concepts.exercises.running import Answer

TOLERANCE = 1e-4  # of the largest number of an array: JAX computes in float32

Values = tuple[np.ndarray, ...]


def answer_of(function: Function, case: Case) -> Values:
    """JAX's answer for a case."""
    return as_values(getattr(references, function.name)(*case), function)


def as_values(returned, function: Function) -> Values:
    several = returned if len(function.returns) > 1 else (returned,)
    return tuple(np.asarray(value, np.float64) for value in several)


def right(answer: Answer, want: Values) -> bool:
    return answer.values is not None and equal(answer.values, want)


def equal(a: Values, b: Values) -> bool:
    """Whether two answers are the same but for rounding; what is empty has no shape."""
    return len(a) == len(b) and all(
        (x.size == y.size == 0) or (x.shape == y.shape and not differs(x, y).any())
        for x, y in zip(a, b, strict=True)
    )


def differs(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Where numbers differ by more than rounding; a nan differs from everything."""
    scale = np.abs(want).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(got - want) <= TOLERANCE * scale + 1e-12)


def attempt(made: Callable, case: Case, function: Function) -> Values | None:
    """What a solution with a mistake gives; None if it raises."""
    try:
        with np.errstate(all="ignore"):
            return as_values(made(*case), function)
    except Exception:
        return None
