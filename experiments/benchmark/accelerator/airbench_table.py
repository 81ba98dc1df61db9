"""CIFAR-10 to 94%: our runs, and the listing's own PyTorch where a user gives its file."""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from experiments.benchmark.accelerator.parent import Child, ChildError, Report

SECONDS = 45.0  # of our process on a GPU, about
PUBLISHED = (
    "published for PyTorch on one A100: 94.01% in 3.83 s, compiled 3.09 s, and by another "
    "optimiser 94.05% in 2.67 s (README of github.com/KellerJordan/cifar10-airbench)"
)


def measure(
    report: Report, spec: Mapping[str, Any], environment: Mapping[str, str], *, file: str, runs: int
) -> None:
    """A row for each run, and their mean."""
    if not file:
        report.skip(
            "airbench94",
            "no --cifar10=FILE; pack one by python -m experiments.benchmark.accelerator.pack",
        )
        return
    if report.has(section="airbench94, mean"):
        return
    if not spec["tiny"] and not report.fits("airbench94", SECONDS):
        return
    task = {**spec, "what": "airbench", "cifar10": file, "runs": runs, "dtype": "bfloat16"}
    found: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    try:
        with Child(report, task, environment) as child:
            for answer in child.answers():
                if "card" in answer:
                    report.on(answer)
                elif "run" in answer:
                    found.append(answer)
                    report.add(
                        f"airbench94, ours bfloat16, seed {answer['run']}: "
                        f"{answer['accuracy']:.4f} in {answer['seconds']:.2f} s "
                        f"(one view: {answer['one_view']:.4f})",
                        section="airbench94",
                        **answer,
                    )
                else:
                    facts |= answer
                    report.tell(", ".join(f"{k} {v}" for k, v in answer.items()))
    except ChildError as error:
        report.skip("the rest of airbench94", str(error))
    if found:
        accuracies = [run["accuracy"] for run in found]
        seconds = [run["seconds"] for run in found]
        spread = statistics.stdev(accuracies) if len(found) > 1 else None
        report.add(
            f"airbench94, ours: mean accuracy {statistics.mean(accuracies):.4f}"
            + ("" if spread is None else f" ± {spread:.4f}")
            + f", median {statistics.median(seconds):.2f} s, n = {len(found)}, without compilation "
            f"({facts.get('compile_seconds')} s); {PUBLISHED}",
            section="airbench94, mean",
            accuracy=statistics.mean(accuracies),
            deviation=spread,
            seconds=statistics.median(seconds),
            n=len(found),
            **facts,
        )


def measure_torch(report: Report, script: str) -> None:
    """Runs the listing's own script, from the user's copy, and shows the lines it prints."""
    if not script or report.has(section="airbench94, its own script"):
        return
    if not os.path.isfile(script):
        raise ValueError(f"--airbench_torch={script}: there is no such file.")
    begun, lines = time.monotonic(), []
    process = subprocess.Popen(
        [sys.executable, "-u", os.path.abspath(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=os.path.dirname(os.path.abspath(script)),
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if re.search(r"\beval\b|Mean|Error", line):
                report.tell(f"its own script: {line.strip()}")
            if report.left() < 0:
                report.skip("the rest of its own script", "the minutes are over")
                break
    finally:
        process.kill()
        process.wait()
    report.add(
        f"its own script took {time.monotonic() - begun:.1f} s in all",
        section="airbench94, its own script",
        script=script,
        lines=lines[-200:],
    )
