"""The examples that networks judge differently, for the page of a comparison."""

from typing import Any

from cnn_jax.analysis import page
from cnn_jax.run.comparing.disagreements import Disagreement
from cnn_jax.run.evaluation_page import title


def parts_of(each: Disagreement) -> list[str]:
    """What two networks disagree on, as HTML."""
    first, second = each.names
    parts = [page.heading(f"Disagreements: {first} and {second}")]
    said = f"Of the runs {each.runs[0]} (the first) and {each.runs[1]} (the second)."
    if each.difference is not None:
        mean, half = each.difference
        said += (
            " The second's accuracy minus the first's, on these examples: "
            f"{mean:+.4f} ± {half:.4f} (95%, over examples; other seeds differ too)."
        )
    parts.append(page.paragraph(said))
    parts.append(page.table([*each.counts], [[f"{n:,}" for n in each.counts.values()]], names=0))
    pictures = [
        page.picture(each.images[row["example"]], _caption(row))
        for row in each.examples
        if row["example"] in each.images
    ]
    if pictures:
        parts.append(f'<div class="examples">{"".join(pictures)}</div>')
    if each.examples:
        words = [n for n, value in each.examples[0].items() if isinstance(value, str)]
        keys = [*words, *(name for name in each.examples[0] if name not in words)]
        rows = [[_cell(row[key]) for key in keys] for row in each.examples]
        parts.append(page.table([title(key) for key in keys], rows, names=len(words)))
    return parts


def _caption(row: dict[str, Any]) -> str:
    if "class" in row:
        first = f"first: {row['first']} ({row['first_probability']:.2f})"
        second = f"second: {row['second']} ({row['second_probability']:.2f})"
        return f"{row['class']}. {first}, {second}. {row['example']}"
    return f"first {_cell(row['first'])}, second {_cell(row['second'])}. {row['example']}"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
