"""Compares runs, and writes what was found: a page, JSON, and a CSV file, a row for each run."""

import contextlib
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax import strict_json
from cnn_jax.run.comparing import comparison_page
from cnn_jax.run.comparing.comparison import Comparison, gathered
from cnn_jax.run.comparing.groups import Group, differences_in
from cnn_jax.stores import local_path

PAGE_FILE, JSON_FILE, CSV_FILE = "compare.html", "compare.json", "compare.csv"


def compare(
    places: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    reference: str = "",
    disagree: bool = False,
    evaluations: str | os.PathLike[str] = "evaluations",
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compares runs, which may still be going on. Nothing of theirs is written.

    Runs that differ only in their seed (or their fold) are one group. Intervals are over the runs
    of a group; differences are between runs of the same seed. What is not of the same examples is
    not compared, and said by name.

    Args:
        places: run directories, s3:// URLs, patterns, or directories with runs in them.
        output: directory for compare.html, compare.json and compare.csv; None: nothing is written.
        reference: name of the group, or of one of its runs, that the others are compared with;
            default: the first.
        disagree: evaluate one run of each group, for the examples on which they disagree. What
            `experiments.evaluate` has left in `evaluations` is used in any case.
        evaluations: directory of evaluations.
        say: told what takes time.

    Raises:
        ValueError: there are no runs, or none is called like the reference.
    """
    given = [places] if isinstance(places, (str, os.PathLike)) else places
    made = gathered(
        given,
        reference=reference,
        evaluate=disagree,
        evaluations=local_path(evaluations),
        say=say,
    )
    if output is None:
        return made
    where = local_path(output)
    where.mkdir(parents=True, exist_ok=True)
    write(made, where)
    return made._replace(page=where / PAGE_FILE)


def write(made: Comparison, directory: Path) -> None:
    """Writes the three files, each whole or not at all."""
    with _whole(directory / JSON_FILE) as path:
        text = strict_json.dumps(to_json(made), indent=2)
        path.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    with _whole(directory / CSV_FILE) as path:
        _write_rows(path, table(made))
    with _whole(directory / PAGE_FILE) as path:
        comparison_page.write(made, path)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` afterwards."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def table(made: Comparison) -> list[dict[str, Any]]:
    """A row for each run: settings that differ, figures and speeds."""
    records = made.runs
    settings = differences_in(records)
    figures = list(dict.fromkeys(name for run in records for name in run.figures))
    speeds = list(dict.fromkeys(name for run in records for name in run.speeds))
    return [
        {
            "run": run.name,
            "group": group.name,
            "state": run.state,
            "step": run.step,
            "seed": run.repetition[0],
            "fold": run.repetition[1],
            **{name: run.settings.get(name, "") for name in settings},
            **{name: run.figures.get(name) for name in figures},
            **{name: run.speeds.get(name) for name in speeds},
            "place": run.place,
        }
        for group in made.groups
        for run in group.runs
    ]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(["" if v is None else v for v in row.values()] for row in rows)


def to_json(made: Comparison) -> dict[str, Any]:
    """All that was found, as JSON."""
    firsts = [group.first for group in made.groups]
    return {
        "chosen_by": made.chosen_by,
        "notes": made.notes,
        "settings_that_differ": {
            name: {g.name: g.first.settings.get(name) for g in made.groups}
            for name in differences_in(firsts)
        },
        "other_settings_that_differ": {
            name: {g.name: g.first.settings.get(name) for g in made.groups}
            for name in differences_in(firsts, counting=False)
        },
        "groups": [
            {
                "name": group.name,
                "runs": [run.name for run in group.runs],
                "repeated": [run.name for run in group.spare],
                "figures": {name: _mean(group, name) for name in group.figure_names()},
            }
            for group in made.groups
        ],
        "comparable": [
            {"part": f.part, "examples": f.what, "groups": [g.name for g in f.groups]}
            for f in made.fields
        ],
        "differences": [
            {
                "group": each.group,
                "figure": each.figure,
                "pairs": [_called(pair) for pair in each.pairs],
                "mean": each.mean,
                "half_width_95": each.half_width,
                "lowest_and_highest": each.extremes,
            }
            for each in made.differences
        ],
        "runs": [
            {**row, "why": run.why, "rows": run.rows}
            for row, run in zip(table(made), made.runs, strict=True)
        ],
        "disagreements": [each.to_json() for each in made.disagreements],
    }


def _mean(group: Group, name: str) -> dict[str, Any]:
    mean = group.figure(name)
    return {
        "mean": mean.mean,
        "half_width_95": mean.half_width,
        "lowest_and_highest": mean.extremes,
        "n": len(mean.values),
        "values": {_called(pair): value for pair, value in mean.values.items()},
    }


def _called(repetition: tuple[str, str]) -> str:
    seed, fold = repetition
    return f"seed {seed}, fold {fold}" if fold else f"seed {seed}"
