"""What went wrong, told by the answers: a typical mistake, or what the numbers show."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments.concepts.exercises import saying
from experiments.concepts.exercises.comparing import Values, attempt, equal
from experiments.concepts.exercises.exercise import (
    Case,
    Exercise,
    Function,
    Mistake,
    functions_of,
    with_mistakes,
)
from experiments.concepts.exercises.running import Answer
from experiments.concepts.exercises.saying import number
from experiments.concepts.frame.lesson import Text


def recognise(
    exercise: Exercise,
    function: Function,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    want: Sequence[Values],
) -> tuple[Mistake, ...]:
    """The first typical mistake, or pair of them, that gives all these answers, at least one of
    them wrong; () if there is none."""
    pairs = itertools.combinations(function.mistakes, 2)
    for made in itertools.chain(((mistake,) for mistake in function.mistakes), pairs):
        try:
            code = with_mistakes(exercise, function, made)
            wrong = functions_of(code)[function.name]
        except (ValueError, SyntaxError):  # two that change the same place
            continue
        if _explains(wrong, function, cases, answers, want):
            return made
    return ()


def _explains(
    made: Callable,
    function: Function,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    want: Sequence[Values],
) -> bool:
    """Whether a function gives these answers, at least one of which is wrong."""
    wrong = False
    for case, answer, right in zip(cases, answers, want, strict=False):
        theirs = attempt(made, case, function)
        if theirs is None or answer.values is None:
            if theirs is not None or answer.values is not None:
                return False
            continue
        cut = [np.trunc(v) if w else v for v, w in zip(theirs, answer.whole, strict=True)]
        if not equal(answer.values, theirs) and not equal(answer.values, tuple(cut)):
            return False
        wrong = wrong or not equal(theirs, right)
    return wrong


def untouched(
    exercise: Exercise, function: Function, cases: Sequence[Case], answers: Sequence[Answer]
) -> Text | None:
    """Said where a function that was given broken still gives what it gave."""
    if function.begin == "...":
        return None
    made = functions_of(exercise.solution({function.name: function.begin}))[function.name]
    for case, answer in zip(cases, answers, strict=False):
        theirs = attempt(made, case, function)
        if theirs is None or answer.values is None or not equal(answer.values, theirs):
            return None
    return saying.UNTOUCHED


def general(answer: Answer, want: Values) -> Text | None:
    """What went wrong as far as the numbers alone tell."""
    if answer.values is None:
        return None
    pairs = list(zip(answer.values, want, strict=True))
    index = next(i for i, (got, wants) in enumerate(pairs) if not equal((got,), (wants,)))
    got, wants = pairs[index]
    if np.isnan(got).any():
        return saying.NOT_A_NUMBER
    if got.shape != wants.shape:
        if got.size == wants.size and equal((got.reshape(wants.shape),), (wants,)):
            return saying.SAME_NUMBERS
        if got.ndim == wants.ndim and _some_transpose(got, wants):
            return saying.TRANSPOSED
        return None
    if got.ndim > 1 and _some_transpose(got, wants):
        return saying.TRANSPOSED
    for axis in range(got.ndim):
        if equal((np.flip(got, axis),), (wants,)):
            return saying.REVERSED if got.ndim == 1 else saying.FLIPPED
    if equal((-got,), (wants,)):
        return saying.SIGN
    if answer.whole[index] and equal((got,), (np.trunc(wants),)):
        return saying.WHOLE
    return _in_proportion(got, wants)


def _some_transpose(got: np.ndarray, wants: np.ndarray) -> bool:
    return any(
        order != tuple(range(got.ndim)) and equal((got.transpose(order),), (wants,))
        for order in itertools.permutations(range(got.ndim))
    )


def _in_proportion(got: np.ndarray, wants: np.ndarray) -> Text | None:
    """Told of several numbers that are all off by one factor, or by one number."""
    if wants.size < 2 or np.ptp(wants) == 0:
        return None
    largest = np.unravel_index(np.abs(wants).argmax(), wants.shape)
    ratio = got[largest] / wants[largest]
    if ratio and equal((got,), (wants * ratio,)):
        return Text(*(s.format(by=number(ratio)) for s in saying.FACTOR))
    offset = got.flat[0] - wants.flat[0]
    if equal((got,), (wants + offset,)):
        return Text(*(s.format(by=number(offset)) for s in saying.OFFSET))
    return None
