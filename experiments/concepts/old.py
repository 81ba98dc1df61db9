"""Lessons of the old form, until each is rewritten."""

import base64
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax
from matplotlib.figure import Figure

from cnn_jax.analysis.interval import half_width
from experiments.concepts import lesson
from experiments.concepts.data import digits, mnist1d, on_canvas, subset
from experiments.concepts.lesson import Effort, Text
from experiments.concepts.spread import above

__all__ = [
    "Concept",
    "Effort",
    "Text",
    "above",
    "digits",
    "half_width",
    "mnist1d",
    "on_canvas",
    "subset",
]


class Expectation(NamedTuple):
    """Attributes:
    claim: what should be true, and why.
    expected: the condition that is checked, in numbers.
    measured: the measured value.
    holds: whether the condition holds.
    """

    claim: Text
    expected: str
    measured: str
    holds: bool


class Findings(NamedTuple):
    """The measurements of a concept.

    Attributes:
        headings: headings of the table.
        rows: rows of the table, as text.
        expectations: expectations checked against the measurement.
        draw: draws the figure.
        size: size of the figure in inches.
    """

    headings: Sequence[Text]
    rows: Sequence[Sequence[str]]
    expectations: Sequence[Expectation]
    draw: Callable[[Figure], None]
    size: tuple[float, float] = (9.0, 3.6)


def Concept(  # as the lessons call it
    name: str, title: Text, question: Text, answer: Text, measure: Callable[[Effort], Findings]
) -> lesson.Concept:
    """A lesson of the old form as one of the new."""

    @functools.wraps(measure)
    def numbers(effort: Effort) -> dict[str, Any]:
        findings = measure(effort)
        figure = Figure(figsize=findings.size, layout="constrained")
        findings.draw(figure)
        file = io.BytesIO()
        figure.savefig(file, dpi=110)
        return {
            "headings": [_dict(each) for each in findings.headings],
            "rows": findings.rows,
            "expectations": [
                {**each._asdict(), "claim": _dict(each.claim), "holds": bool(each.holds)}
                for each in findings.expectations
            ],
            "png": base64.b64encode(file.getvalue()).decode(),
        }

    def read(values: Mapping[str, Any]) -> lesson.Findings:
        found = values["expectations"]
        names = [str(i) for i in range(1, len(found) + 1)]
        return lesson.Findings(
            [lesson.Table([Text(**each) for each in values["headings"]], values["rows"])],
            [{"type": "png", "title": _dict(title), "png": values["png"]}],
            {
                name: lesson.Outcome(each["measured"], each["holds"])
                for name, each in zip(names, found, strict=True)
            },
            [answer],
            [
                lesson.Claim(name, Text(**each["claim"]), each["expected"])
                for name, each in zip(names, found, strict=True)
            ],
        )

    return lesson.Concept(name, title, [question], question, (), numbers, read)


def _dict(text: Text) -> dict[str, str]:
    return text._asdict()


def mean_and_interval(
    values: Sequence[float] | np.ndarray, *, scale: float = 1, digits: int = 1
) -> str:
    """'94.1 ± 0.3': the mean and its 95% confidence interval, multiplied by `scale`."""
    values = np.asarray(values, float) * scale
    return f"{values.mean():.{digits}f} ± {half_width(values):.{digits}f}"


def percent(values: Sequence[float] | np.ndarray) -> str:
    """Fractions in percent: '94.1 ± 0.3 %'."""
    return mean_and_interval(values, scale=100) + " %"


def adam(rate) -> optax.GradientTransformation:
    return optax.adam(rate)
