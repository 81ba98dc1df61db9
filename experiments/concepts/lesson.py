"""The parts of a concept: a question, a measurement, and the expectations of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import optax
from matplotlib.figure import Figure

from cnn_jax.analysis.interval import half_width
from cnn_jax.data import eval_batches, load_source
from cnn_jax.typing import HostBatch

LANGUAGES = ("en", "zh")


class Text(NamedTuple):
    """A text in English and in Chinese."""

    en: str
    zh: str

    def in_(self, language: str) -> str:
        return getattr(self, language)


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


class Effort(NamedTuple):
    """The amount of computation: `--quick` for a look, the full effort for figures to quote."""

    quick: bool

    @property
    def seeds(self) -> range:
        return range(3 if self.quick else 5)

    def steps(self, quick: int, full: int) -> int:
        return quick if self.quick else full


class Concept(NamedTuple):
    """Attributes:
    name: name of the command, `python -m experiments.concepts.<name>`.
    title, question, answer: the text of the lesson, without its numbers.
    measure: effort -> findings.
    """

    name: str
    title: Text
    question: Text
    answer: Text
    measure: Callable[[Effort], Findings]


def mean_and_interval(
    values: Sequence[float] | np.ndarray, *, scale: float = 1, digits: int = 1
) -> str:
    """'94.1 ± 0.3': the mean and its 95% confidence interval, multiplied by `scale`."""
    values = np.asarray(values, float) * scale
    return f"{values.mean():.{digits}f} ± {half_width(values):.{digits}f}"


def percent(values: Sequence[float] | np.ndarray) -> str:
    """Fractions in percent: '94.1 ± 0.3 %'."""
    return mean_and_interval(values, scale=100) + " %"


def mnist1d(split: str, *, shuffled: bool = False) -> HostBatch:
    """{'image': float32 [N, 40, 1], 'label'} of a split."""
    return _everything("mnist1d_shuffled" if shuffled else "mnist1d", split)


def digits(split: str) -> HostBatch:
    """{'image': float32 [N, 8, 8, 1] in 0..1, 'label'} of a split."""
    data = dict(_everything("digits", split))
    return {**data, "image": data["image"].astype(np.float32) / 255}


def _everything(name: str, split: str) -> HostBatch:
    source = load_source(name, split)
    (batch,) = eval_batches(source, batch_size=len(source))
    return {"image": batch["image"], "label": batch["label"]}


def subset(data: HostBatch, examples: int) -> HostBatch:
    """The first `examples` of a set, which is already shuffled."""
    return {name: leaf[:examples] for name, leaf in data.items()}


def on_canvas(data: HostBatch, side: int, *, seed: int | None = None) -> HostBatch:
    """Digits [N, 8, 8, 1] on black images [N, side, side, 1], centred or placed by `seed`.

    Adds 'place' [N, 2], the first row and column of each digit.
    """
    images = data["image"]
    count, size = images.shape[:2]
    place = np.full((count, 2), (side - size) // 2)
    if seed is not None:
        place = np.random.default_rng(seed).integers(0, side - size + 1, (count, 2))
    canvas = np.zeros((count, side, side, 1), np.float32)
    for picture, image, (top, left) in zip(canvas, images, place, strict=True):
        picture[top : top + size, left : left + size] = image
    return {"image": canvas, "label": data["label"], "place": place}


def above(a: np.ndarray, b: np.ndarray, *, by: float = 0.0) -> bool:
    """Whether the mean of `a` is above that of `b` by more than `by` and their joint interval."""
    return bool(a.mean() - b.mean() > by + np.hypot(half_width(a), half_width(b)))


def adam(rate) -> optax.GradientTransformation:
    return optax.adam(rate)
