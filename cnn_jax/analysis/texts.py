"""Texts in a figure that can be read: none over another, none wider than its place."""

import textwrap
import unicodedata
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from cnn_jax.analysis import figure_files
from cnn_jax.printable import printable

LETTER = 0.62  # width of a letter, as a share of the size of its font
_INCH = 72  # points


def columns(text: str) -> int:
    """Width of a text in letters; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def letters(inches: float, size: float) -> int:
    """How many letters of a font of `size` points stand beside each other in a width."""
    return max(int(inches * _INCH / (LETTER * size)), 1)


def wrapped(text: object, most: int, *, lines: int = 2) -> str:
    """A text for a figure in at most so many lines of so many letters; what is more is cut."""
    found = []
    for line in printable(text, lines=True).split("\n"):
        found += (
            textwrap.wrap(line, most, break_long_words=True) if columns(line) > most else [line]
        )
    kept = [cut(line, most) for line in found[:lines]]
    if len(found) > lines:
        kept[-1] = cut(kept[-1].ljust(most) + "\u2026", most)
    return "\n".join(kept).replace("$", r"\$")


def cut(text: object, most: int) -> str:
    """A text in at most so many letters; what was cut off is an ellipsis."""
    shown = printable(text)
    if columns(shown) <= most:
        return shown
    while columns(shown) >= most and shown:
        shown = shown[:-1]
    return shown + "\u2026"


def legend_columns(names: Sequence[str], inches: float, size: float, *, most: int = 7) -> int:
    """How many columns of a legend with these names fit into a width."""
    longest = max((columns(name) for name in names), default=1)
    of_each = (longest + 6) * LETTER * size / _INCH  # six letters for the patch and the gaps
    return int(min(max(inches // of_each, 1), most, max(len(names), 1)))


def apart(axis: Axes, texts: Sequence[Text], boxes: Sequence[Sequence[float]]) -> None:
    """Moves texts of boxes to places where none covers another.

    Each stands above, below or within its box, at the left or at the right, within the axis; where
    all of these are taken, at the first free height; where there is none, where least is covered.

    Args:
        axis: where they are; its figure is laid out.
        texts: their texts, the most important first.
        boxes: left, top, right and bottom of each, in the units of the axis.
    """
    if not texts:
        return
    figure = axis.get_figure(root=True)
    assert figure is not None
    figure_files.lay_out(figure)
    to_pixels, frame = axis.transData, axis.get_window_extent()
    placed: list[Bbox] = []
    for text, (left, top, right, bottom) in zip(texts, boxes, strict=True):
        extent = text.get_window_extent()
        width, height = extent.width + 2, extent.height + 2
        (x0, y0), (x1, y1) = to_pixels.transform([(left, bottom), (right, top)])
        places = [
            (x0, y1), (x0, y1 - height), (x0, y0 - height), (x0, y0), (x1 - width, y1),
            (x1 - width, y1 - height), (x1 - width, y0 - height), (x1 - width, y0),
        ]  # fmt: skip
        steps = max(int(frame.height // height), 1)
        places += [(x0, frame.y1 - height * (i + 1)) for i in range(steps)]
        inside = [
            (
                min(max(x, frame.x0), max(frame.x1 - width, frame.x0)),
                min(max(y, frame.y0), max(frame.y1 - height, frame.y0)),
            )
            for x, y in places
        ]
        candidates = [Bbox.from_bounds(x, y, width, height) for x, y in inside]
        best = min(candidates, key=lambda each: _covered(each, placed))
        placed.append(best)
        x, y = to_pixels.inverted().transform((best.x0 + 1, best.y0 + 1))
        text.set(position=(x, y), horizontalalignment="left", verticalalignment="bottom")


def _covered(box: Bbox, others: Sequence[Bbox]) -> float:
    """The area that a box shares with others."""
    total = 0.0
    for other in others:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        total += max(width, 0) * max(height, 0)
    return total
