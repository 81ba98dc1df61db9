"""Self-contained pages of HTML: text, tables and figures, without scripts or outside addresses.

A page reads well from 360 pixels of width on, and in light and dark.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_jax.analysis.page_style import BASE
from cnn_jax.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    BASE
    + """
.tall { width: fit-content; max-height: 30em; overflow-y: auto; border: 1px solid var(--line);
  border-radius: 6px; padding: 0 .7em; }
.tall th { position: sticky; top: 0; background: var(--panel); }
th { color: var(--soft); font-weight: 600; }
td.n, th.n { padding: .22rem .45rem; }
.note { font-size: .88rem; }
.warn { background: var(--warn); padding: .5em .8em; border-radius: 6px;
  border-left: 4px solid var(--second); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .7em;
  margin: 1em 0; }
.tile { background: var(--panel); border-radius: 8px; padding: .7em .9em; }
.tile b { display: block; font-size: 1.45em; line-height: 1.2; }
.tile span { color: var(--soft); font-size: 13px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr));
  gap: 1em; align-items: start; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; display: block; }
@media (max-width: 500px) { table { font-size: 13px; } td.n, th.n { padding: .25em .3em; } }
"""
)


def escape(text: object) -> str:
    """Text of any origin as HTML: names of files and classes are data, and may hold anything."""
    return html.escape(printable(text))


def write(
    path: Path, title: str, parts: Iterable[str], *, footer: str = "", style: str = ""
) -> Path:
    """Writes a page.

    Args:
        path: path of the file.
        title: title and heading, as text.
        parts: HTML of the body, in order.
        footer: text.
        style: more CSS.
    """
    body = "\n".join(parts)
    path.write_text(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<link rel="icon" href="data:,">'  # so that browsers ask for no favicon
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n<footer>{escape(footer)}</footer></body></html>\n",
        encoding="utf-8",
    )
    return path


def heading(text: str) -> str:
    """The heading of a part."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; its kind is '', 'note' for small print or 'warn' for what to mind."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (value, what it is, small print) of each."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b>{escape(name)}<br><span>{escape(more)}</span>'
        "</div>"
        for value, name, more in figures
    )
    return f'<div class="tiles">{inner}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1) -> str:
    """A table, whose first columns hold names and the others numbers; a long one scrolls.

    Args:
        headings: of the columns.
        rows: texts of the cells.
        names: number of columns of names.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["name" if i < names else "n" for i in range(len(cells))]
        inner = (
            f'<{tag} class="{k}">{escape(c)}</{tag}>' for k, c in zip(kinds, cells, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    tall = " tall" if len(rows) > 25 else ""
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll{tall}"><table>{line(headings, "th")}{body}</table></div>'


def picture(png: bytes, caption: str) -> str:
    """A PNG with its caption."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def figure(drawn: "Figure | Path", caption: str) -> str:
    """A figure of Matplotlib, or the file of one, with its caption."""
    if isinstance(drawn, Path):
        return picture(drawn.read_bytes(), caption)
    from cnn_jax.analysis import figure_files  # late: Matplotlib

    file = io.BytesIO()
    figure_files.save(drawn, file)
    return picture(file.getvalue(), caption)


def side_by_side(parts: Iterable[str]) -> str:
    """Figures beside each other, where there is room."""
    return f'<div class="figures">{"".join(parts)}</div>'
