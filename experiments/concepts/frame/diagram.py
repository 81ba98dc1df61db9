"""Diagrams in SVG from small functions: they follow the text's colour, and a phone's width.

A part is a string of SVG. Classes: '' is the text's colour, 'a', 'b', 'c' are blue, vermilion and
green in the shades of the scheme, 'soft' is grey, 'fill' fills in the paper's panel colour.
"""

import html
from collections.abc import Callable, Sequence

from experiments.concepts.frame.lesson import Diagram

CELL = 24  # units of a grid's cell, in which 13 units of type fit

STYLE = """
figure.diagram { margin: 1rem 0; max-width: 34rem; }
figure.diagram svg { width: 100%; height: auto; display: block; color: var(--ink); }
.diagram text { fill: currentColor; font: 14px system-ui, "Noto Sans", "Noto Sans CJK SC",
  "Microsoft YaHei", "PingFang SC", sans-serif; }
.diagram line, .diagram path, .diagram rect, .diagram circle { stroke: currentColor;
  stroke-width: 1.4; fill: none; }
.diagram .a { color: var(--first); } .diagram .b { color: var(--second); }
.diagram .c { color: var(--third); } .diagram .soft { color: var(--soft); }
.diagram text.a { fill: var(--first); } .diagram text.b { fill: var(--second); }
.diagram text.c { fill: var(--third); } .diagram text.soft { fill: var(--soft); }
.diagram .thick { stroke-width: 3; } .diagram .dashed { stroke-dasharray: 5 4; }
.diagram .bold { font-weight: 700; } .diagram .fill { fill: var(--panel); }
.diagram .shade { fill: currentColor; stroke: none; }
.diagram .head { fill: currentColor; stroke: none; }
"""


def svg(diagram: Diagram, language: str) -> str:
    """The diagram as an element of a page."""
    title = html.escape(diagram.title.in_(language))
    body = "".join(diagram.draw(language))
    return (
        f'<figure class="diagram" style="max-width: {diagram.width / 10:g}rem">'
        f'<svg viewBox="0 0 {diagram.width:g} {diagram.height:g}" role="img" '
        f'aria-label="{title}">{body}</svg></figure>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str = "") -> str:
    """A line with a head at its second end."""
    dx, dy = x2 - x1, y2 - y1
    length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    ux, uy = dx / length, dy / length
    bx, by = x2 - 8 * ux, y2 - 8 * uy
    head = (
        f"M{x2:.4g} {y2:.4g}L{bx - 4 * uy:.4g} {by + 4 * ux:.4g}"
        f"L{bx + 4 * uy:.4g} {by - 4 * ux:.4g}Z"
    )
    return line(x1, y1, bx, by, kind) + f'<path d="{head}" class="head {kind}"/>'


def curve(points: Sequence[tuple[float, float]], kind: str = "") -> str:
    """Straight lines through points."""
    path = "L".join(f"{x:.4g} {y:.4g}" for x, y in points)
    return f'<path d="M{path}" class="{kind}"/>'


def circle(x: float, y: float, radius: float = 7, kind: str = "fill") -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="{kind}"/>'


def label(
    x: float, y: float, text: object, kind: str = "", *, size: float = 14, anchor: str = "middle"
) -> str:
    """Text whose baseline is at `y`; anchor: start, middle, end."""
    style = "" if size == 14 else f' style="font-size: {size:g}px"'
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}"{style}>'
        f"{html.escape(str(text))}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, text: object = "", kind: str = "fill"
) -> str:
    """A rectangle with a text in its middle."""
    shape = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" class="{kind}"/>'
    )
    colour = kind.replace("fill", "").replace("thick", "").replace("dashed", "")
    if str(text):
        shape += label(x + width / 2, y + height / 2 + 5, text, colour.strip())
    return shape


def grid(
    x: float,
    y: float,
    values: Sequence[Sequence[object]],
    *,
    cell: float = CELL,
    shade: Callable[[int, int], float] = lambda row, column: 0.0,
    kind: str = "soft",
    numbers: str = "",
) -> str:
    """A grid of numbers or names.

    Args:
        x, y: its upper left corner.
        values: text of each cell; '' for none.
        cell: side of a cell; texts fit from 20 on.
        shade: (row, column) -> how dark, 0..0.6 so that its text stays readable.
        kind: class of the lines.
        numbers: class of the texts.
    """
    parts = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            left, top = x + j * cell, y + i * cell
            if dark := shade(i, j):
                parts.append(
                    f'<rect x="{left:g}" y="{top:g}" width="{cell:g}" height="{cell:g}" '
                    f'class="shade" opacity="{dark:.3g}"/>'
                )
            parts.append(
                f'<rect x="{left:g}" y="{top:g}" width="{cell:g}" height="{cell:g}" '
                f'class="{kind}"/>'
            )
            if str(value):
                parts.append(label(left + cell / 2, top + cell / 2 + 5, value, numbers))
    return "".join(parts)
