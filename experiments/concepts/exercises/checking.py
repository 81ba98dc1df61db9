"""Checks a learner's code against JAX, and says what went wrong.

A typical mistake is recognised by its answers: those of the solution with that mistake in it. The
first wrong number is named in any case.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.concepts.exercises import saying
from experiments.concepts.exercises.comparing import Values, answer_of, differs, right
from experiments.concepts.exercises.exercise import Case, Exercise, Function, Mistake
from experiments.concepts.exercises.recognising import general, recognise, untouched
from experiments.concepts.exercises.running import Answer, Failure, Ran, run
from experiments.concepts.exercises.saying import Place, number

SECONDS = 10.0
LARGEST_CASE = 60  # numbers of the arguments that are printed to try


class Verdict(NamedTuple):
    """Attributes:
    solved: whether all answers are right.
    lines: what is said, in the language asked for: what came and what was wanted first, then what
        went wrong where it is known.
    mistakes: the typical ones that were recognised.
    printed: what the code printed.
    """

    solved: bool
    lines: list[str]
    mistakes: tuple[Mistake, ...] = ()
    printed: str = ""


def check(
    exercise: Exercise,
    code: str,
    *,
    language: str = "en",
    file: str = "",
    directory: Path | None = None,
    seconds: float = SECONDS,
) -> Verdict:
    """Runs the code in a process of its own and compares what it returns with JAX's answers.

    Args:
        code: the learner's.
        language: of the verdict, 'en' or 'zh'.
        file: name of the code in messages.
        directory: where the code may import other modules from; None: the current directory.
        seconds: processor time for all cases together.
    """
    file = file or f"{exercise.name}.py"
    cases = {function.name: list(function.cases()) for function in exercise.functions}
    ran = run(exercise, code, cases, file=file, directory=directory or Path.cwd(), seconds=seconds)
    lines, mistakes = _judge(exercise, ran, cases, file, language)
    if not lines:
        return Verdict(True, [saying.SOLVED.in_(language).format(name=file)], (), ran.printed)
    return Verdict(False, lines, mistakes, ran.printed)


def _judge(
    exercise: Exercise, ran: Ran, cases: dict[str, list[Case]], file: str, language: str
) -> tuple[list[str], tuple[Mistake, ...]]:
    """What is wrong in the first function that is not right; [] if all are."""
    if ran.failure is not None:
        return [saying.failure(ran.failure, Place(file, ""), language)], ()
    for function in exercise.functions:
        answers = ran.answers.get(function.name)
        if answers is None:
            line = saying.MISSING.in_(language)
            return [
                line.format(function=function.name, file=file, signature=function.signature)
            ], ()
        given = cases[function.name]
        want = [answer_of(function, case) for case in given]
        wrong = next((i for i, answer in enumerate(answers) if not right(answer, want[i])), None)
        if wrong is not None:
            found = recognise(exercise, function, given, answers, want)
            said = _say(function, given, answers, want, wrong, file, language)
            call = saying.call(function.name, wrong, len(given), language)
            if still := untouched(exercise, function, given, answers):
                said.append(still.in_(language).format(function=function.name))
            if answers[wrong].changed:
                said.append(saying.CHANGED.in_(language).format(call=call))
            if found:
                said += [mistake.told.in_(language) for mistake in found]
            elif told := general(answers[wrong], want[wrong]):
                said.append(told.in_(language))
            if answers[wrong].values is not None:
                said += _to_try(function, given[wrong], language)
            return said, found
        changed = next((i for i, answer in enumerate(answers) if answer.changed), None)
        if changed is not None:
            call = saying.call(function.name, changed, len(given), language)
            return [saying.CHANGED.in_(language).format(call=call)], ()
    return [], ()


def _say(
    function: Function,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    want: Sequence[Values],
    wrong: int,
    file: str,
    language: str,
) -> list[str]:
    """What came and what was wanted, in the first case that is wrong."""
    call = saying.call(function.name, wrong, len(cases), language)
    answer, wanted = answers[wrong], want[wrong]
    if answer.values is None:
        failed = answer.failure or Failure("nothing")
        more = {
            "function": function.name,
            "wanted": saying.wanted(wanted[0], language),
            "count": str(len(wanted)),
            "names": ", ".join(function.returns),
        }
        return [saying.failure(failed, Place(file, call), language, **more)]
    for name, got, wants in zip(function.returns, answer.values, wanted, strict=True):
        if got.shape != wants.shape:
            sentence = saying.SHAPE if wants.ndim else saying.SHAPE_OF_NUMBER
            return [
                sentence.in_(language).format(call=call, name=name, got=got.shape, want=wants.shape)
            ]
        wrong_ones = differs(got, wants)
        if wrong_ones.any():
            index = tuple(int(i) for i in np.argwhere(wrong_ones)[0]) if got.ndim else ()
            at = f"{name}[{', '.join(map(str, index))}]" if index else name
            return [
                saying.VALUE.in_(language).format(
                    call=call, name=at, got=number(got[index]), want=number(wants[index])
                )
            ]
    raise AssertionError("the answer is right")


def _to_try(function: Function, case: Case, language: str) -> list[str]:
    """The call of a small case, as code to copy."""
    if sum(np.size(argument) for argument in case) > LARGEST_CASE:
        return []
    written = []
    for name, argument in zip(function.parameters, case, strict=True):
        if isinstance(argument, np.ndarray):
            kind = ", np.uint8" if argument.dtype == np.uint8 else ""
            argument = f"np.array({np.array2string(argument, separator=', ')}{kind})"
            argument = " ".join(argument.split())
        written.append(f"{name} = {argument}")
    call = f"print({function.name}({', '.join(function.parameters)}))"
    return [saying.TRY.in_(language), *(f"    {line}" for line in [*written, call])]
