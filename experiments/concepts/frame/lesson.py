"""The parts of a lesson: what is explained, what is claimed, what is measured, what that says.

A lesson is data. `measure` makes numbers, which is what costs; `read` makes texts, tables and
charts of them, in an instant. So a changed sentence, or a changed chart, measures nothing again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

LANGUAGES = ("en", "zh")


class Text(NamedTuple):
    """A text in English and in Chinese.

    [[kernel]] is a term of the glossary, [[kernel|kernels]] the same under another form, and
    `x` is code.
    """

    en: str
    zh: str

    def in_(self, language: str) -> str:
        return getattr(self, language)


Words = Text | str  # a string is the same in both languages: numbers, names in code


def in_language(words: Any, language: str) -> str:
    """The words in a language, also as JSON has them: {"en": ..., "zh": ...}."""
    if isinstance(words, Text):
        return words.in_(language)
    return words[language] if isinstance(words, Mapping) else str(words)


class Formula(NamedTuple):
    """Attributes:
    mathml: the formula for the page, by language.
    plain: the same in a line of text.
    caption: what it says.
    """

    mathml: Text
    plain: Text
    caption: Text | None = None


class Diagram(NamedTuple):
    """Attributes:
    width, height: size in its own units; at most 360 wide, so that 13 units can be read on a phone.
    title: what it shows, for those who do not see it.
    draw: language -> its parts in SVG, see experiments.concepts.frame.diagram.
    """

    width: float
    height: float
    title: Text
    draw: Callable[[str], Sequence[str]]


class Code(NamedTuple):
    """A few lines of Python, or of what it prints."""

    text: Words


Paragraph = Text | Formula | Diagram | Code  # of an explanation


class Claim(NamedTuple):
    """An expectation, written down before it is measured.

    Attributes:
        name: its name in the lesson.
        says: what should be true, and why.
        expected: the condition that is checked.
    """

    name: str
    says: Text
    expected: Words


class Outcome(NamedTuple):
    """What a measurement says of a claim.

    Attributes:
        measured: the measured value.
        holds: whether the condition holds.
        values: label -> the value of each seed.
        unit: of the values.
        why_not: why it did not hold, with a measurement of its own; not shown where it held.
    """

    measured: Words
    holds: bool
    values: Mapping[Words, Sequence[float]] = {}
    unit: str = ""
    why_not: Text | None = None


class Table(NamedTuple):
    headings: Sequence[Words]
    rows: Sequence[Sequence[Words]]
    caption: Words = ""


class Series(NamedTuple):
    """A line, or the bars of one kind.

    Attributes:
        label: its name in the legend; '' if it has none.
        x: places; left out for bars, which stand at the chart's categories.
        values: at each place, the value of each seed. The line is their mean, the dots are they.
        fill: whether the area below the line is filled.
    """

    label: Words
    x: Sequence[float]
    values: Sequence[Sequence[float]]
    fill: bool = False


class Chart(NamedTuple):
    """Attributes:
    title, x, y: names of the chart and its axes.
    series: what is drawn.
    kind: 'lines' with dots, 'curve' without, or 'bars'.
    categories: names of the places of bars.
    x_scale, y_scale: 'linear' or 'log'.
    y_range: lowest and highest value shown.
    marks: lines across: ('x' or 'y', value, name).
    """

    title: Words
    x: Words
    y: Words
    series: Sequence[Series]
    kind: str = "lines"
    categories: Sequence[Words] = ()
    x_scale: str = "linear"
    y_scale: str = "linear"
    y_range: tuple[float, float] | None = None
    marks: Sequence[tuple[str, float, Words]] = ()


class ImageRow(NamedTuple):
    """Images beside each other, on one scale, which is shown.

    Attributes:
        label: name of the row.
        images: [rows][columns] each; all of a size.
        titles: of each image.
        colours: 'gray', 'signed' (white at zero), 'heat' or 'classes' (0 is black, no scale).
        low, high: ends of the scale; those of the values if left out.
        over: gray images that these are laid over.
        boxes: of each image, (left, top, right, bottom, text) in its pixels.
    """

    label: Words
    images: Sequence[Any]
    titles: Sequence[Words] = ()
    colours: str = "gray"
    low: float | None = None
    high: float | None = None
    over: Sequence[Any] = ()
    boxes: Sequence[Sequence[Any]] = ()


class Images(NamedTuple):
    title: Words
    rows: Sequence[ImageRow]


class Findings(NamedTuple):
    """What a measurement says.

    Attributes:
        tables, charts: the measurement.
        outcomes: name of each claim -> its outcome.
        reading: what follows from it. Sentences about a result are chosen by the result.
    """

    tables: Sequence[Table]
    charts: Sequence[Chart | Images]
    outcomes: Mapping[str, Outcome]
    reading: Sequence[Text]


class Effort(NamedTuple):
    """The amount of computation: `--quick` for a look, the full effort for figures to quote."""

    quick: bool

    @property
    def seeds(self) -> range:
        return range(3 if self.quick else 5)

    def pick(self, quick: int, full: int) -> int:
        """A number of steps or examples."""
        return quick if self.quick else full

    def steps(self, quick: int, full: int) -> int:
        """A number of training steps."""
        return self.pick(quick, full)


class Concept(NamedTuple):
    """Attributes:
    name: name of its package, and of its command `python -m experiments.concepts.<name>`.
    title: heading.
    explain: texts, formulae and diagrams before the measurement.
    guess: question to the reader, who bets on the claims before seeing the numbers.
    claims: the expectations.
    measure: effort -> numbers: what JSON can hold, and no texts.
    read: these numbers -> what they say.
    seeded: whether the measurement depends on seeds and effort.
    """

    name: str
    title: Text
    explain: Sequence[Paragraph]
    guess: Text
    claims: Sequence[Claim]
    measure: Callable[[Effort], Mapping[str, Any]]
    read: Callable[[dict[str, Any]], Findings]
    seeded: bool = True


def chosen(holds: bool, yes: Text, no: Text) -> Text:
    """The sentence that is true."""
    return yes if holds else no
