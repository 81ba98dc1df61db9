"""The table of layers: XLA's own convolutions, our methods, and PyTorch's, pass by pass."""

from collections.abc import Mapping
from typing import Any

from experiments.benchmark.accelerator import layers
from experiments.benchmark.accelerator.parent import Child, ChildError, Report

SECONDS = {"torch": 30.0, "jax": 180.0}  # of each process on a GPU, about


def measure(
    report: Report, spec: Mapping[str, Any], environment: Mapping[str, str], *, torch: bool
) -> None:
    """PyTorch's times first, so that each of our lines can name them."""
    last = {"section": "layer", "layer": layers.table(tiny=spec["tiny"])[-1].name}
    if report.has(**last, **{"pass": layers.PASSES[-1]}):
        return
    known: dict[tuple[str, str], float] = {}
    if torch and (spec["tiny"] or report.fits("layers, torch", SECONDS["torch"])):
        try:
            with Child(
                report, {**spec, "what": "layers", "contender": "torch"}, environment
            ) as one:
                for answer in one.answers():
                    known[answer["layer"], answer["pass"]] = answer["torch"]
        except ChildError as error:
            report.skip("layers, torch", str(error))
    if not spec["tiny"] and not report.fits("layers", SECONDS["jax"] / 6):
        return
    there = [row for row in report.result["rows"] if row.get("section") == "layer"]
    task = {
        **spec,
        "what": "layers",
        "contender": "jax",
        "without": [(row["layer"], row["pass"]) for row in there],
    }
    try:
        with Child(report, task, environment) as child:
            for answer in child.answers():
                if "card" in answer:
                    report.on(answer)
                    continue
                names = {"section": "layer", "layer": answer["layer"], "pass": answer["pass"]}
                row = {**answer, "torch": known.get((answer["layer"], answer["pass"]))}
                report.add(line(row), **names, **{k: v for k, v in row.items() if k not in names})
    except ChildError as error:
        report.skip("the rest of the layers", str(error))


def line(row: Mapping[str, Any]) -> str:
    """A row for the console."""
    times = dict(row["milliseconds"])
    shown = f"{row['layer']:30s} {row['pass']:16s} xla {times.pop('xla'):8.3f} ms"
    for method, time in times.items():
        shown += f"  {method} {time:.3f}"
    if row["torch"] is not None:
        shown += f"  torch {row['torch']:.3f} (xla takes "
        shown += f"{row['milliseconds']['xla'] / row['torch']:.2f} times as long)"
    shown += f"  -> {row['chosen']}"
    for method, why in row["wrong"].items():
        shown += f"  [{method} left out: {why}]"
    return shown
