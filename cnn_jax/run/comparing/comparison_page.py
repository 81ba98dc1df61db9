"""The page of a comparison."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.analysis import line_chart, page
from cnn_jax.analysis.interval import Spread
from cnn_jax.run.comparing import comparable, comparison_curves, disagreement_page
from cnn_jax.run.comparing.comparable import PARTS, Field
from cnn_jax.run.comparing.comparison import Comparison
from cnn_jax.run.comparing.groups import Difference, Group, Mean, differences_in, ranked
from cnn_jax.run.comparing.records import FINISHED, SPEEDS, Record
from cnn_jax.run.evaluation_page import title

NOTES = 30  # sentences on the page
PAIRS = 20  # pairs of groups, from which on chance is mentioned
STYLE = (
    line_chart.STYLE
    + """
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: 1.2em; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 1em; }
.examples img { width: 100%; max-width: 160px; image-rendering: pixelated; }
td.name:first-child { min-width: 9.5rem; }
"""
)


def write(made: Comparison, path: Path) -> None:
    """Writes the page."""
    runs = made.runs
    parts = [page.paragraph(_summary(made))]
    parts += [page.paragraph(note, "warn") for note in made.notes[:NOTES]]
    if len(made.notes) > NOTES:
        parts.append(page.paragraph(f"{len(made.notes) - NOTES} more: compare.json", "note"))
    parts += _figures(made)
    parts += _settings(made.groups)
    parts += comparison_curves.parts_of(made)
    parts += _between(made)
    parts += _speeds(made.groups)
    for each in made.disagreements:
        parts += disagreement_page.parts_of(each)
    parts += _runs(made)
    what = sorted({run.settings.get("model") or run.task for run in runs})
    data = sorted({run.settings.get("dataset", "").rpartition("/")[2] for run in runs})
    name = f"{_few(what)} on {_few(data)}: {len(runs)} runs"
    footer = "Made by python -m experiments.compare. compare.json and compare.csv have the numbers."
    page.write(path, name, parts, footer=footer, style=STYLE)


def _summary(made: Comparison) -> str:
    count = len(made.groups)
    groups = f"{count} groups of runs" if count > 1 else "One group of runs"
    first = f"{groups}, which differ within a group only in their seed; "
    return first + f"{comparable.finished(made.groups)}. {best(made)}"


def best(made: Comparison) -> str:
    """Which group is best, by what it was chosen, in a sentence; '' if there is no choice."""
    figure = made.chosen_by
    part = figure.partition("_")[0]
    for field in made.fields:
        order = ranked(field.groups, figure)
        if field.part != part or len(order) < 2:
            continue
        mean = order[0].figure(figure)
        on = "the validation split" if part == "val" else "the test split itself"
        first = [group for group in order if group.figure(figure).mean == mean.mean]
        names = _few([comparable.called(group) for group in first])
        if len(first) > 1:
            return f"Best by {title_of(figure)}, on {on}, with {mean.mean:.4f} each: {names}."
        return (
            f"Best by {title_of(figure)}, on {on}: {names}, {mean.text(_number)}{_of_seeds(mean)}."
        )
    return ""


def title_of(figure: str) -> str:
    """'validation accuracy' of 'val_accuracy'."""
    part, _, name = figure.partition("_")
    return f"{PARTS.get(part, part)} {title(name)}"


def _of_seeds(mean: Mean) -> str:
    if len(mean.values) < 2:
        return " (one run)"
    between = "with its 95% interval" if mean.half_width is not None else "lowest and highest"
    return f" (mean of {len(mean.values)} runs, {between})"


def _figures(made: Comparison) -> list[str]:
    """A table for each set of examples: the groups, their runs, and means with intervals."""
    parts = []
    for field in made.fields:
        names = [n for n in _names(field.groups, field.part) if "/" not in n]
        parts.append(page.heading(f"{PARTS[field.part].capitalize()} figures"))
        parts.append(page.paragraph(f"Of {field.what}.", "note"))
        names.sort(key=lambda n: n.partition("_")[2] != made.chosen_by.partition("_")[2])  # stable
        rows = []
        for group in _ordered(field, made.chosen_by):
            means = [group.figure(name) for name in names]
            rows.append(
                [group.name, str(len(group.finished)), *(mean.text(_number) for mean in means)]
            )
        short = [title(name.partition("_")[2]) for name in names]
        parts.append(page.table(["group", "runs", *short], rows))
        if any(len(group.finished) > 1 for group in field.groups):
            parts.append(
                page.paragraph(
                    "± is half the 95% interval of the mean over seeds, by Student's t. Of two "
                    "runs, and where that would go beyond what a figure can be (0 to 1), the "
                    "lowest and the highest stand in brackets. A dash: one of the runs has no such "
                    "number.",
                    "note",
                )
            )
    return parts


def _ordered(field: Field, figure: str) -> list[Group]:
    """The best first, by validation where there is one."""
    order = ranked(field.groups, figure)
    return [*order, *(group for group in field.groups if group not in order)]


def _names(groups: Sequence[Group], part: str) -> list[str]:
    found = dict.fromkeys(name for group in groups for name in group.figure_names())
    return [name for name in found if name.startswith(f"{part}_")]


def _settings(groups: Sequence[Group]) -> list[str]:
    firsts = [group.first for group in groups]
    parts = []
    for counting, head in (
        (True, "Settings that differ"),
        (False, "Settings of no effect on results"),
    ):
        names = differences_in(firsts, counting=counting)
        if not names:
            continue
        parts.append(page.heading(head))
        if len(groups) <= 6:  # a column for each group
            rows = [[n, *(_setting(run, n) for run in firsts)] for n in names]
            columns = ["setting", *(group.name for group in groups)]
        else:
            rows = [[g.name, *(_setting(g.first, n) for n in names)] for g in groups]
            columns = ["group", *names]
        parts.append(page.table(columns, rows, names=len(columns)))
    if not parts:
        parts = [page.heading("Settings"), page.paragraph("They are the same in all runs.")]
    return parts


def _setting(run: Record, name: str) -> str:
    value = run.settings.get(name)
    return "not known" if value is None else value or "''"


def _between(made: Comparison) -> list[str]:
    if len(made.groups) < 2:
        return []
    parts = [page.heading("Differences, by the same seeds")]
    if not made.differences:
        return [*parts, page.paragraph("No two groups have a finished run of the same seed.")]
    for field in made.fields:
        names = [n for n in _names(field.groups, field.part) if "/" not in n]
        names.sort(key=lambda n: n.partition("_")[2] != made.chosen_by.partition("_")[2])
        table = {(d.group, d.figure): d for d in made.differences}
        rows = []
        for group in field.groups[1:]:
            own = [table.get((group.name, name)) for name in names]
            pairs = max((len(each.pairs) for each in own if each), default=0)
            cells = ["–" if d is None else _signed(d) for d in own]
            rows.append([group.name, str(pairs), *cells])
        if rows:
            said = (
                f"{PARTS[field.part].capitalize()} figures, minus those of {field.groups[0].name}."
            )
            parts.append(page.paragraph(said))
            short = [title(name.partition("_")[2]) for name in names]
            parts.append(page.table(["group", "pairs", *short], rows))
    note = (
        "Mean of the differences of runs with the same seed, ± half its 95% interval (Student's "
        "t), or with the lowest and the highest of them, as above; one pair has neither."
    )
    if len(made.differences) >= PAIRS:
        note += " Of twenty such intervals one leaves out 0 by chance alone."
    return [*parts, page.paragraph(note, "note")]


def _speeds(groups: Sequence[Group]) -> list[str]:
    shown = {**SPEEDS, "start": "before the steps, about"}
    names = [n for n in shown if any(n in run.speeds for g in groups for run in g.runs)]
    if not names:
        return []
    rows = []
    for group in groups:
        cells = [[run.speeds[n] for run in group.runs if n in run.speeds] for n in names]
        rows.append([group.name, *(_size(float(np.median(c))) if c else "" for c in cells)])
    return [
        page.heading("Speed"),
        page.table(["group", *(shown[n] for n in names)], rows),
        page.paragraph(
            "Medians over the runs of a group, times in seconds. Before the steps: compilation, "
            "most of it, estimated from the first row of the log.",
            "note",
        ),
    ]


def _runs(made: Comparison) -> list[str]:
    figure = made.chosen_by
    rows = []
    for group in made.groups:
        for run in [*group.runs, *group.spare]:
            value = run.figures.get(figure)
            if run.state != FINISHED:
                value = _latest(run, figure)
            seed = run.repetition[0] + (f", fold {run.repetition[1]}" if run.repetition[1] else "")
            known = "–" if value is None else _number(value)
            rows.append([run.name, group.name, run.state, seed, f"{run.step:,}", known])
    heads = ["run", "group", "state", "seed", "step", title_of(figure) if figure else "figure"]
    return [page.heading("Runs"), page.table(heads, rows, names=3)]


def _latest(run: Record, figure: str) -> float | None:
    part, _, name = figure.partition("_")
    rows = [row for row in run.rows if row["split"] == part and row.get(name) is not None]
    return float(rows[-1][name]) if rows else None


def _signed(found: Difference) -> str:
    return Spread(found.mean, found.half_width, found.extremes).text("{:+.4f}".format)


def _size(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
