"""Results of `experiments.benchmark.train_step` as a Markdown table, for the page of results.

    python -m experiments.benchmark.table DIR...

Each DIR holds a `result.json`. Results of one processor, number of cores and set of versions are
one table, in which each run counts once: times are medians over the runs, and what stands behind ±
is the spread of a ratio over them, (greatest - least) / median.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_jax.stores import local_path
from experiments import entry
from experiments.benchmark import comparison
from experiments.benchmark.comparison import Row

NAMES = {  # of the contenders, in the order of the columns
    "ours": "ours",
    "ours_frozen": "frozen",
    "pure_jax": "pure JAX",
    "stock": "stock JAX",
    "torch": "eager",
    "torch_compile": "compiled",
    "torch_frozen": "PyTorch frozen",
}


def read(folder: str) -> dict[str, Any]:
    """A result, as `train_step` wrote it.

    Raises:
        ValueError: there is none, or it is that of another command.
    """
    path = local_path(folder) / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        rows, machine = result["rows"], result["machine"]
        if all(row["network"] and row["batch"] for row in rows) and machine["processor"]:
            return result
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give the --workdir of train_step.") from None
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{path} is not a result of experiments.benchmark.train_step.")


def grouped(results: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[Row], list[str]]]:
    """For each machine and set of versions: what it is, the rows of all runs, and their dates.

    The first measurements of the networks are one run, the second ones another, and so on: it
    may take a command for each network to make a run.
    """
    machines: dict[str, tuple[dict[str, Any], list[Row], list[str]]] = {}
    for result in results:
        key = json.dumps(result["machine"], sort_keys=True)
        _, rows, dates = machines.setdefault(key, (result["machine"], [], []))
        for row in result["rows"]:
            before = sum(other["network"] == row["network"] for other in rows)
            rows.append({**row, "run": before})
        dates.append(result.get("date", ""))
    return list(machines.values())


def of(machine: dict[str, Any], rows: Sequence[Row], dates: Sequence[str]) -> str:
    """The table of one machine."""
    timed = {
        what: [name for name in NAMES if any(f"{what}_{name}_ms" in row for row in rows)]
        for what in ("train", "evaluate")
    }
    peaks = [name for name in NAMES if any(f"{name}_peak_mib" in row for row in rows)]
    compiled = [name for name in NAMES if any(f"{name}_compile_seconds" in row for row in rows)]
    parts = [  # heading, keys of a row whose values share a cell, digits
        (f"step, ms: {_listed(timed['train'])}", [f"train_{n}_ms" for n in timed["train"]], 0),
        ("better / ours", ["train_vs_better"], 2),
        ("better / pure JAX", ["train_pure_jax_vs_better"], 2),
        (
            f"evaluation, ms: {_listed(timed['evaluate'])}",
            [f"evaluate_{n}_ms" for n in timed["evaluate"]],
            0,
        ),
        ("better / ours", ["evaluate_vs_better"], 2),
        ("better / pure JAX", ["evaluate_pure_jax_vs_better"], 2),
        ("better / frozen", ["frozen_vs_better"], 2),
        (f"peak, MiB: {_listed(peaks)}", [f"{n}_peak_mib" for n in peaks], 0),
        ("ours / eager", ["memory_vs_torch"], 2),
        (f"compiled in, s: {_listed(compiled)}", [f"{n}_compile_seconds" for n in compiled], 0),
    ]
    parts = [part for part in parts if any(key in row for key in part[1] for row in rows)]
    lines = [["network", "batch, input", "n", *(title for title, _, _ in parts)]]
    lines.append(["---"] * len(lines[0]))
    for name in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == name]
        shape = "x".join(map(str, own[0]["input"]))
        cells = [_cell(own, keys, digits) for _, keys, digits in parts]
        lines.append([name, f"{own[0]['batch']}, {shape}", str(len(own)), *cells])
    whole = _whole_runs(rows)
    means = []
    for _, keys, _ in parts:
        values = comparison.by_run(whole, keys[0]) if "_vs_" in keys[0] else []
        means.append(_with_spread(values, 2) if values else "")
    lines.append(["geometric mean", "", str(len({row["run"] for row in whole})), *means])
    head = f"{machine['processor']}, {machine['cores']} cores; {_versions(machine)}; {_days(dates)}"
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{head}\n\n{table}"


def _whole_runs(rows: Sequence[Row]) -> list[Row]:
    """The rows of runs that have all networks: means of other runs are of other networks."""
    networks = {row["network"] for row in rows}
    had = {run: {row["network"] for row in rows if row["run"] == run} for run in range(len(rows))}
    return [row for row in rows if had[row["run"]] == networks]


def _listed(names: Sequence[str]) -> str:
    return " / ".join(NAMES[name] for name in names)


def _cell(rows: Sequence[Row], keys: Sequence[str], digits: int) -> str:
    """Medians over the runs, one for each key; with its spread where there is one key alone."""
    values = [[row[key] for row in rows if key in row] for key in keys]
    if len(keys) == 1 and "_vs_" in keys[0]:
        return _with_spread(values[0], digits) if values[0] else "-"
    return " / ".join(f"{statistics.median(v):,.{digits}f}" if v else "-" for v in values)


def _with_spread(values: Sequence[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return f"{middle} ± {comparison.spread(values):.0%}" if len(values) > 1 else middle


def _versions(machine: dict[str, Any]) -> str:
    names = [name for name in machine if name not in ("processor", "cores")]
    return ", ".join(f"{name} {machine[name]}" for name in names)


def _days(dates: Sequence[str]) -> str:
    days = sorted({date for date in dates if date})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "no date"


def main(folders: list[str]) -> int:
    if not folders:
        raise ValueError("no DIR: give the --workdir of one or more runs of train_step.")
    places = [Path(local_path(folder)).resolve() for folder in folders]
    if twice := next((f for f, p in zip(folders, places, strict=True) if places.count(p) > 1), ""):
        raise ValueError(f"{twice} is given twice: its runs would count twice.")
    groups = grouped([read(folder) for folder in folders])
    print("\n\n".join(of(*group) for group in groups))
    return 0


if __name__ == "__main__":
    entry.launch(main, positional="DIR...")
