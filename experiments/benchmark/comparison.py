"""The figures of `experiments.benchmark.train_step`, from times and peaks: ratios and their means.

A row is one network in one run. Ratios are other / ours, so that 2 is twice as fast as the other,
but for memory: ours / other.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.benchmark import timing

Row = dict[str, Any]

OURS = {"train": "ours", "evaluate": "ours", "frozen": "ours_frozen"}
# PyTorch's modes, of which the faster counts. Whoever freezes has the weights as constants.
MODES = {
    "train": ("torch", "torch_compile"),
    "evaluate": ("torch", "torch_compile"),
    "frozen": ("torch", "torch_compile", "torch_frozen"),
}
TITLES = {"train": "steps", "evaluate": "evaluation", "frozen": "frozen evaluation"}
CLOSE = 1e-4  # difference of first losses, in units of the loss or of 1


def disagreement(losses: Mapping[str, Mapping[str, float]]) -> str:
    """Which contenders' first losses differ from those of the first one; '' if they agree.

    Args:
        losses: contender -> 'train' and 'evaluate' -> loss.
    """
    (base, wanted), *others = losses.items()
    said = []
    for name, found in others:
        for what in ("train", "evaluate"):
            if what not in found or what not in wanted:
                continue
            if not abs(found[what] - wanted[what]) <= CLOSE * max(1.0, abs(wanted[what])):
                said.append(f"{what} {found[what]:.6g} of {name}, {wanted[what]:.6g} of {base}")
    return "; ".join(said)


def measured(row: Row, what: str, contender: str) -> float | None:
    """Milliseconds of a contender in a row; None if it was not timed."""
    return row.get(f"{'evaluate' if what == 'frozen' else what}_{contender}_ms")


def ratios(row: Row) -> Row:
    """The ratios of a row: to each contender, to the better of PyTorch's modes, of memory."""
    found: Row = {}
    for what in ("train", "evaluate"):
        ours = measured(row, what, "ours")
        for name in ("stock", "pure_jax", "torch", "torch_compile"):
            other = measured(row, what, name)
            if ours and other:
                found[f"{what}_vs_{name}"] = round(other / ours, 3)
    for what, modes in MODES.items():
        ours = measured(row, what, OURS[what])
        others = [ms for name in modes if (ms := measured(row, what, name))]
        if ours and others:
            found[f"{what}_vs_better"] = round(min(others) / ours, 3)
        alone = measured(row, what, "pure_jax")
        if what != "frozen" and alone and others:
            found[f"{what}_pure_jax_vs_better"] = round(min(others) / alone, 3)
    if row.get("torch_peak_mib") and row.get("ours_peak_mib"):
        found["memory_vs_torch"] = round(row["ours_peak_mib"] / row["torch_peak_mib"], 3)
    return found


def by_run(rows: Sequence[Row], key: str) -> list[float]:
    """The geometric mean over the networks that have a ratio, of each run."""
    runs: dict[Any, list[float]] = {}
    for row in rows:
        if key in row:
            runs.setdefault(row.get("run", 0), []).append(row[key])
    return [timing.geometric_mean(values) for values in runs.values()]


def spread(values: Iterable[float]) -> float:
    """(greatest - least) / median."""
    values = list(values)
    return (max(values) - min(values)) / statistics.median(values)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Geometric means over the networks: the median of the runs, their spread, and the worst."""
    result: dict[str, Any] = {}
    keys = list(dict.fromkeys(key for row in rows for key in row if "_vs_" in key))
    for key in keys:
        what, _, other = key.partition("_vs_")
        name = f"vs_{other}" if what == "train" else f"{what}_vs_{other}"
        means = by_run(rows, key)
        result[f"geomean_{name}"] = round(statistics.median(means), 3)
        if len(means) > 1:
            result[f"spread_{name}"] = round(spread(means), 3)
        worst = max if what == "memory" else min
        result[f"worst_{name}"] = worst(row[key] for row in rows if key in row)
    return result


def line(row: Row) -> str:
    """A row for the console."""
    shown = [f"{row['network']:16s} batch {row['batch']}"]
    names = [key.removesuffix("_peak_mib") for key in row if key.endswith("_peak_mib")]
    for what in ("train", "evaluate"):
        times = [f"{n} {ms:.1f}" for n in names if (ms := measured(row, what, n))]
        if times:
            shown.append(f"{what} ms: {', '.join(times)}")
    better = [(title, row.get(f"{what}_vs_better")) for what, title in TITLES.items()]
    if said := ", ".join(f"{title} {ratio:.2f}" for title, ratio in better if ratio):
        shown.append(f"PyTorch's better mode / ours: {said}")
    shown.append("peak MiB: " + ", ".join(f"{n} {row[f'{n}_peak_mib']}" for n in names))
    compiled = [(n, row[f"{n}_compile_seconds"]) for n in names if f"{n}_compile_seconds" in row]
    if compiled:
        shown.append("compiled in s: " + ", ".join(f"{n} {s:.0f}" for n, s in compiled))
    return "\n  ".join(shown)
