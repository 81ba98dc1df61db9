"""The result of a run: for the caller, for result.json and for the console."""

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import rich.table

from cnn_jax.run import directory as directories
from cnn_jax.run import resuming
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.experiment import Experiment
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.stores import local_path

# What the table of figures leaves out.
_NO_FIGURES = (
    *("model", "dataset", "workdir", "layout", "processes"),
    *("chosen_by", "chosen_step", "continued", "per_class"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The result of `train`.

    Attributes:
        place: the run directory or its URL, for `cnn_jax.run.open`.
        directory: the run directory on this machine.
        interrupted: the signal that stopped the run, or None. An interrupted run has saved its
            state and has no figures yet; the same call resumes it.
        step: number of training steps made.
        metrics: figures on the test split by name, 'accuracy' in 0..1, or on the validation split,
            if there is none; of several runs, with one learning rate, their means. Empty for an
            interrupted run, and in processes other than the first.
        json: the content of result.json; {} where there are no metrics.
    """

    place: str
    directory: Path
    interrupted: signal.Signals | None = None
    step: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    json: dict[str, Any] = dataclasses.field(default_factory=dict)


def described(experiment: Experiment) -> dict[str, Any]:
    """The facts that a result begins with: model, data set and number of classes, if there are."""
    facts = experiment.facts.to_json()
    names = ("model", "dataset", "num_classes")
    return {name: facts[name] for name in names if facts.get(name)}


def figures_of(
    recipe: TrainingRecipe,
    experiment: Experiment,
    outcome: Any,
    final: Any,
    rows: list[dict],
    *,
    place: str,
    began: float,
    best: int | None = None,
    test: dict[str, float] | None = None,
) -> dict[str, Any]:
    """The figures of a finished run, for result.json.

    Args:
        recipe, experiment: what was run.
        outcome: what the loop gave.
        final: the last state, on this process.
        rows: the rows of metrics.jsonl.
        place: the run directory, for messages.
        began: when the run was started, of the monotonic clock.
        best: step of the best checkpoint; None if none was evaluated.
        test: figures of the best checkpoint on the test split, if the run was chosen on another.
    """
    rates = {
        name: sorted(row[f"wall_{name}"] for row in rows if f"wall_{name}" in row)
        for name in ("images_per_second", "gflops_per_second", "mfu")
    }
    speeds = {name: values[len(values) // 2] for name, values in rates.items() if values}
    return {
        **described(experiment),
        **_evaluated(experiment, outcome, rows, best, test),
        "chosen_by": f"{experiment.part}_{experiment.best}",
        "chosen_step": best,
        **_continued(recipe),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(final.params)),
        "records_skipped": len(experiment.train.corrupt),
        "steps": outcome.step,
        "seconds": round(time.monotonic() - began, 2),
        **({"nonfinite_steps": int(final.guard.count)} if final.guard else {}),
        "images_per_second": None,
        **speeds,
        "layout": recipe.layout,
        "processes": jax.process_count(),
        "workdir": place,
    }


def _evaluated(
    experiment: Experiment,
    outcome: Any,
    rows: list[dict],
    best: int | None,
    test: dict[str, float] | None,
) -> dict[str, float]:
    """The figures of the evaluations: of the last state, where it was chosen on the test split; of
    the best checkpoint, where it was chosen on another."""
    part, figures = experiment.part, experiment.task.report(outcome.observed)
    if part == "test":
        return {f"test_{name}": value for name, value in figures.items()}
    at_best = next((r for r in rows[::-1] if r["split"] == part and r["step"] == best), None)
    if at_best is not None:
        figures = {name: at_best[name] for name in figures if name in at_best}
    return {
        **{f"{part}_{name}": value for name, value in figures.items()},
        **{f"test_{name}": value for name, value in (test or {}).items()},
    }


def _continued(recipe: TrainingRecipe) -> dict[str, Any]:
    if not recipe.continue_run:
        return {}
    return {"continued": {"run": recipe.continue_run, "step": recipe.continue_step}}


def metrics_in(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures on the test split, out of the content of result.json; those on the validation
    split, if there are none."""
    for part in ("test_", "val_"):
        if names := [name for name in result if name.startswith(part)]:
            return {name.removeprefix(part): result[name] for name in names}
    return {}


def recorded(place: str) -> tuple[int, dict[str, float]]:
    """The figures in the result.json of a run, and the step that they are of: the last, or the best
    if the run was chosen on another split than they are of. (0, {}) if it has none.

    Raises:
        StoreError: the run is in a store that cannot be read.
    """
    with directories.readable(place) as directory:
        try:
            content = json.loads((directory / workdirs.RESULT_FILE).read_text())
            last = str(content.get("chosen_by", "test_")).startswith("test_")
            step = content["steps"] if last else content["chosen_step"]
            return int(step), metrics_in(content)
        except (OSError, ValueError, KeyError, TypeError):
            return 0, {}


def cpu_devices(place: str) -> int:
    """The number of devices that a run on this machine split its CPU into; 0 if it did not.

    JAX is not asked for any, and what is no run is none here.
    """
    flagfile = local_path(place) / workdirs.RECIPE_FILE
    with contextlib.suppress(ValueError, OSError):
        return int(resuming.read_recipe(flagfile).get("cpu_devices", 0))
    return 0


def table(result: dict[str, Any]) -> rich.table.Table:
    """The figures of a finished run, for the console."""
    what = " on ".join(filter(None, (result.get("model"), result.get("dataset"))))
    shown = rich.table.Table(title=what or "the run")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    for name, value in result.items():
        if name not in _NO_FIGURES:
            shown.add_row(name, _cell(value))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, float) and abs(value) < 100:
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, (int, float)) else json.dumps(value)
