"""What an exercise is: a task, functions to fill in, cases to try, mistakes to recognise."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.concepts.frame.lesson import Text

Case = tuple[Any, ...]


class Mistake(NamedTuple):
    """A typical mistake, as a change to the solution: what it computes is recognised.

    Attributes:
        told: what went wrong, and what is right.
        edits: (text of the body, what stands there instead), all applied.
    """

    told: Text
    edits: tuple[tuple[str, str], ...]


class Function(NamedTuple):
    """A function to fill in.

    Attributes:
        signature: 'conv2d(x, w)'.
        doc: what goes in and what comes out, with the shapes.
        body: the solution, in NumPy.
        cases: -> arguments to try it on, the easiest first.
        mistakes: typical ones; the first whose answers are the learner's is told.
        returns: names of the values that it returns.
        begin: the body that the learner begins with.
    """

    signature: str
    doc: Text
    body: str
    cases: Callable[[], Sequence[Case]]
    mistakes: tuple[Mistake, ...]
    returns: tuple[str, ...] = ("y",)
    begin: str = "..."

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0]

    @property
    def parameters(self) -> list[str]:
        inside = self.signature.partition("(")[2].rstrip(")")
        return [part.partition("=")[0].strip() for part in inside.split(",")]

    def written(self, body: str, doc: str = "") -> str:
        """The function as code, with a body."""
        lines = [f"def {self.signature}:"]
        if doc:
            lines.append(textwrap.indent(f'"""{doc}"""', "    "))
        return (
            "\n".join([*lines, textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")]) + "\n"
        )


class Exercise(NamedTuple):
    """Attributes:
    number: from 1.
    section: name of the lesson's section that it belongs to.
    title, task: what it is about, and what to do.
    functions: what to fill in; later ones may call earlier ones.
    hints: the first says where to look, the last nearly all.
    """

    number: int
    section: str
    title: Text
    task: Text
    functions: tuple[Function, ...]
    hints: tuple[Text, ...]

    @property
    def name(self) -> str:
        return f"exercise_{self.number:02d}"

    def solution(self, changed: Mapping[str, str] | None = None) -> str:
        """The solution as code.

        Args:
            changed: other bodies, by the name of the function.
        """
        bodies = {function.name: function.body for function in self.functions} | dict(changed or {})
        return "\n\n".join(function.written(bodies[function.name]) for function in self.functions)


def mistake(en: str, zh: str, *edits: tuple[str, str]) -> Mistake:
    """A mistake that is told in English and Chinese."""
    return Mistake(Text(en, zh), edits)


def with_mistakes(exercise: Exercise, function: Function, made: Sequence[Mistake]) -> str:
    """The solution with mistakes in one of its functions, as code.

    Raises:
        ValueError: the solution does not have what a mistake changes, or no longer has it.
    """
    body = function.body
    for old, new in (edit for each in made for edit in each.edits):
        if old not in body:
            raise ValueError(f"{exercise.name}.{function.name}: the solution has no {old!r}.")
        body = body.replace(old, new)
    return exercise.solution({function.name: body})


def functions_of(code: str) -> dict[str, Any]:
    """What a solution of ours defines, by name."""
    names: dict[str, Any] = {"np": np}
    exec(compile(code, "<solution>", "exec"), names)
    return names


def whole_numbers(seed: int, *shape: int, low: int = -3, high: int = 4) -> np.ndarray:
    """Whole numbers as floats: sums of them are exact, and easy to follow by hand."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float64)
