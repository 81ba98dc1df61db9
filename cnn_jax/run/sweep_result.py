"""The result of a sweep: means and intervals, their table and their figure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.table

from cnn_jax.analysis.interval import Spread, spread
from cnn_jax.run import result as results
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.lanes import Run
from cnn_jax.run.recipe import TrainingRecipe


def figures_of(
    recipe: TrainingRecipe,
    experiment: Experiment,
    finals: Sequence[Mapping[str, float]],
    rates: Sequence[float],
    *,
    steps: int,
    place: str,
) -> dict[str, Any]:
    """Every run, and per learning rate the mean of each metric with half its 95 % interval, or with
    the lowest and the highest run where that says more, see `cnn_jax.analysis.interval.spread`."""
    figures = [name for name in finals[0] if name not in (*Run._fields, "step")]
    summary = []
    for rate in rates:
        own = [row for row in finals if row["learning_rate"] == rate]
        columns = {name: [row[name] for row in own] for name in figures}
        summary.append(
            {
                "learning_rate": rate,
                "n": len(own),
                **{name: _summary(column) for name, column in columns.items()},
            }
        )
    return {
        **results.described(experiment),
        "steps": steps,
        "seeds": recipe.seeds,
        "first_seed": recipe.seed,
        "summary": summary,
        "runs": finals,
        "workdir": place,
    }


def _summary(column: Sequence[float]) -> dict[str, Any]:
    mean, half, extremes = spread(column)
    return {"mean": mean, "half_width_95": half, "lowest_and_highest": extremes}


def table(result: Mapping[str, Any]) -> rich.table.Table:
    """The summary, a row for each learning rate."""
    what = " on ".join(filter(None, (result.get("model"), result.get("dataset"))))
    count = result["seeds"]
    between = "mean and 95 % interval" if count > 2 else "mean, lowest and highest"
    over = f"{between} over {count} seeds" if count > 1 else "one seed"
    shown = rich.table.Table(title=f"{what or 'the runs'}: {over}")
    first = result["summary"][0]
    names = [name for name, value in first.items() if isinstance(value, dict)]
    for name in ("learning rate", *names):
        shown.add_column(name, justify="right")
    for row in result["summary"]:
        cells = [
            Spread(row[n]["mean"], row[n]["half_width_95"], row[n].get("lowest_and_highest")).text()
            for n in names
        ]
        shown.add_row(f"{row['learning_rate']:g}", *cells)
    return shown


def draw(path: Path, best: str, figure_path: Path, *, part: str = "test") -> None:
    """Draws the best metric of an evaluated part against the step: the mean of the seeds, and the
    extremes."""
    from matplotlib.figure import Figure  # late: Matplotlib

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for rate in sorted({row["learning_rate"] for row in rows}):
        by_step: dict[int, list[float]] = {}
        for row in rows:
            if row["learning_rate"] == rate:
                value = row[f"{part}_{best}"]
                if value is not None:  # it is undefined for this split
                    by_step.setdefault(row["step"], []).append(value)
        steps = sorted(by_step)
        (line,) = axis.plot(steps, [np.mean(by_step[s]) for s in steps], ".-", label=f"{rate:g}")
        low, high = ([function(by_step[s]) for s in steps] for function in (min, max))
        axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set(xlabel="step", ylabel=f"{part} {best.replace('_', ' ')}")
    axis.legend(title="learning rate")
    axis.grid(alpha=0.3)
    figure.savefig(figure_path, dpi=100)
