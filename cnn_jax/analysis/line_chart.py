"""Line charts inside pages, in the colours of the page: SVG, light and dark.

Matplotlib draws them in colours that stand for the page's own, which are put in their place.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnn_jax.analysis.page import escape
from cnn_jax.printable import in_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito, from light to dark themes shifted so that each is seen on both.
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#8a6d00", "#2f8fc4", "#4d4d4d", "#7b3294")
DARK = ("#56b4e9", "#e69f00", "#2fc79c", "#dd94c2", "#f0e442", "#8ecdf2", "#c8c8c8", "#c49be0")
_NAME = 2 * "-" + "line"  # of a variable of CSS
COLOURS = len(LIGHT)  # lines beyond have the colour of small print
_INK, _LINE, _SOFT = "#010101", "#020202", "#030303"
_SIZE = (3.6, 2.5)  # inches of 72 points: as wide as a column of the page
_WIDE = 50.0  # largest over smallest value, from which on an axis is logarithmic


def _variables(colours: Sequence[str]) -> str:
    return "".join(f"{_NAME}{i}: {colour}; " for i, colour in enumerate(colours))


STYLE = f"""
:root {{ {_variables(LIGHT)}}}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)}}} }}
svg {{ width: 100%; height: auto; display: block; }}
svg text {{ font-family: system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif !important; }}
.key {{ display: flex; flex-wrap: wrap; gap: .15em 1.2em; margin: .6rem 0; font-size: .92rem; }}
.key span {{ overflow-wrap: anywhere; }}
.key i {{ display: inline-block; width: 1.4em; border-top: 4px solid; margin-right: .4em;
  vertical-align: middle; }}
"""


class Line(NamedTuple):
    """The curves of one thing: thin ones of its repetitions, and their mean.

    Attributes:
        colour: number of its colour; COLOURS and more: none of its own.
        curves: (x, y) of each repetition, [n] each; what is NaN is left out of the line.
    """

    colour: int
    curves: Sequence[tuple[np.ndarray, np.ndarray]]


def chart(title: str, x_name: str, lines: Sequence[Line], *, may_be_wide: bool = False) -> str:
    """A chart, as HTML.

    Args:
        title: what is drawn, as text.
        x_name: name of the horizontal axis.
        lines: the lines; the first are drawn last, on top.
        may_be_wide: whether the axis may be logarithmic, as for a loss.
    """
    from matplotlib.figure import Figure  # late: Matplotlib

    figure = Figure(figsize=_SIZE, layout="constrained", facecolor="none")
    axis = figure.subplots()
    axis.set_facecolor("none")
    for line in lines[::-1]:
        colour, own = _of(line.colour), line.colour < COLOURS
        for x, y in line.curves:
            alone = len(line.curves) == 1
            width = (1.8 if alone else 0.7) if own else 0.6
            marker = "." if len(x) == 1 else None
            alpha = 1.0 if alone and own else 0.45
            axis.plot(x, y, color=colour, linewidth=width, marker=marker, alpha=alpha)
        if len(line.curves) > 1:
            x, y = _mean(line.curves)
            axis.plot(x, y, color=colour, linewidth=1.8 if own else 0.8)
    drawn = [y for line in lines for _, y in line.curves]
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    values = values[np.isfinite(values)]
    if may_be_wide and len(values) and values.min() > 0 and values.max() > _WIDE * values.min():
        axis.set_yscale("log")
    axis.set_title(in_figure(title), fontsize=9.5, color=_INK)
    axis.set_xlabel(x_name, fontsize=8, color=_SOFT)
    axis.tick_params(labelsize=8, colors=_SOFT, which="both", length=0)
    axis.grid(color=_LINE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in axis.spines.values():
        side.set_visible(False)
    return f'<figure role="img" aria-label="{escape(title)}">{_svg(figure)}</figure>'


def key(names: Mapping[int, str] | Sequence[tuple[int, str]]) -> str:
    """What the colours stand for, as HTML: (number of the colour, text) of each."""
    pairs = names.items() if isinstance(names, Mapping) else names
    parts = "".join(
        f'<span><i style="border-color: {_variable(colour)}"></i>{escape(text)}</span>'
        for colour, text in pairs
    )
    return f'<div class="key">{parts}</div>'


def _mean(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean where all have a value: over others it would jump where one begins or ends."""
    common = sorted(set.intersection(*({*x.tolist()} for x, _ in curves)))
    tables = [dict(zip(x.tolist(), y.tolist(), strict=True)) for x, y in curves]
    means = [float(np.mean([table[x] for table in tables])) for x in common]
    return np.array(common), np.array(means)


def _of(colour: int) -> str:
    """The colour that stands for that of a line."""
    return f"#04{min(colour, COLOURS):02x}04"


def _variable(colour: int) -> str:
    return f"var({_NAME}{colour})" if colour < COLOURS else "var(--soft)"


def _svg(figure: "Figure") -> str:
    import matplotlib

    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.image_inline": True}):
        figure.savefig(file, format="svg", metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text)
    stand = {_INK: "var(--ink)", _LINE: "var(--line)", _SOFT: "var(--soft)"}
    stand |= {_of(i): _variable(i) for i in range(COLOURS + 1)}
    return re.sub(r"#0[0-9a-f]{5}", lambda match: stand.get(match[0], match[0]), text)
