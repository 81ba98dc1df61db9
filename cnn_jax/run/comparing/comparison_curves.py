"""The curves of runs over each other, for the page of a comparison."""

import math
from collections.abc import Sequence

import numpy as np

from cnn_jax.analysis import line_chart, page
from cnn_jax.run.comparing.comparable import PARTS
from cnn_jax.run.comparing.comparison import Comparison
from cnn_jax.run.comparing.groups import Group, ranked
from cnn_jax.run.comparing.records import Record
from cnn_jax.run.evaluation_page import title

POINTS = 400  # of a curve, at most
WIDE = ("loss", "grad_norm")  # whose axis may be logarithmic


def parts_of(made: Comparison) -> list[str]:
    """The curves of all metrics, as HTML; those of single classes are in compare.json."""
    colours = _colours(made)
    found: dict[tuple[str, str], None] = {}
    for run in made.runs:
        for row in run.rows:
            for name, value in row.items():
                plain = name not in ("step", "split") and not name.startswith("wall_")
                if plain and "/" not in name and not isinstance(value, str):
                    found[row["split"], name] = None
    if not found:
        return []
    last = made.chosen_by.partition("_")[2]
    order = sorted(found, key=lambda key: (key[0] == "train", key[1] != last, key[1] != "loss"))
    charts = []
    for split, name in order:
        lines = [
            line_chart.Line(colours[id(group)], curves)
            for group in _by_colour(made.groups, colours)
            if (
                curves := [_curve(run, split, name) for run in group.runs if _has(run, split, name)]
            )
        ]
        said = f"{'training' if split == 'train' else PARTS.get(split, split)} {title(name)}"
        charts.append(line_chart.chart(said, "step", lines, may_be_wide=name in WIDE))
    names = [(colours[id(group)], group.name) for group in _by_colour(made.groups, colours)]
    own = [pair for pair in names if pair[0] < line_chart.COLOURS]
    if len(own) < len(names):
        own.append((line_chart.COLOURS, f"{len(names) - len(own)} other groups"))
    batches = {run.settings.get("batch_size") for run in made.runs}
    note = "Thin lines are single runs, thick ones the means of groups."
    if len(batches) > 1:
        sizes = ", ".join(sorted(map(str, batches))[:5])
        note += f" A step is not the same everywhere: batch_size is {sizes}."
    return [
        page.heading("Curves"),
        line_chart.key(own),
        f'<div class="charts">{"".join(charts)}</div>',
        page.paragraph(note, "note"),
    ]


def _has(run: Record, split: str, name: str) -> bool:
    return any(row["split"] == split and name in row for row in run.rows)


def _curve(run: Record, split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = {r["step"]: r[name] for r in run.rows if r["split"] == split and name in r}
    steps = sorted(rows)
    if len(steps) > POINTS:
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, POINTS).astype(int)]
    values = [math.nan if rows[step] is None else float(rows[step]) for step in steps]
    return np.array(steps, float), np.array(values)


def _colours(made: Comparison) -> dict[int, int]:
    """The number of the colour of each group: the best have one of their own."""
    order = list(made.groups)
    if len(order) > line_chart.COLOURS:
        top = [g for field in made.fields for g in ranked(field.groups, made.chosen_by)]
        order = list(dict.fromkeys([*top, *order]))
    chosen = {id(group) for group in order[: line_chart.COLOURS]}
    numbers = iter(range(line_chart.COLOURS))
    return {
        id(group): next(numbers) if id(group) in chosen else line_chart.COLOURS
        for group in made.groups
    }


def _by_colour(groups: Sequence[Group], colours: dict[int, int]) -> list[Group]:
    return sorted(groups, key=lambda group: colours[id(group)])
