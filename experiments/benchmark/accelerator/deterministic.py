"""Runs that repeat to the last bit: XLA's flag for a GPU, whether it does so, and what it costs."""

from collections.abc import Mapping
from typing import Any

from experiments.benchmark.accelerator.parent import Child, ChildError, Report
from experiments.gpu_options import deterministic

STEPS = 10
SECONDS = 22.0  # of a process, about


def measure(
    report: Report, network: str, spec: Mapping[str, Any], environment: Mapping[str, str]
) -> None:
    """Our step in bfloat16, twice as it is and twice deterministic: bits and speed."""
    names = {"section": "deterministic", "network": network}
    if report.has(**names):
        return
    if not spec["tiny"] and not report.fits("deterministic", 4 * SECONDS):
        return
    repeatable = {**environment, "XLA_FLAGS": deterministic(environment.get("XLA_FLAGS", ""))}
    task = {**spec, "what": "step", "network": network, "contender": "ours", "dtype": "bfloat16"}
    found: dict[str, list[dict[str, Any]]] = {"default": [], "deterministic": []}
    try:
        for _ in range(2):
            for name, surroundings in (("default", environment), ("deterministic", repeatable)):
                with Child(report, {**task, "digest": STEPS}, surroundings) as child:
                    facts = child.answer()
                    assert facts is not None
                    report.on(facts)
                    child.send("time")
                    found[name].append({**facts, **(child.answer() or {})})
    except ChildError as error:
        report.skip("deterministic", str(error))
        return
    same = {name: len({run["digest"] for run in runs}) == 1 for name, runs in found.items()}
    speed = {name: max(r["images_per_second"] for r in runs) for name, runs in found.items()}
    cost = speed["default"] / speed["deterministic"]
    text = (
        f"{network}, ours bfloat16, {STEPS} steps, two processes each: by default "
        f"{_equal(same['default'])}, deterministic {_equal(same['deterministic'])}; deterministic "
        f"takes {cost:.2f} times as long ({speed['deterministic']:.1f} images/s, default "
        f"{speed['default']:.1f})"
    )
    report.add(
        text,
        **names,
        equal=same,
        images_per_second=speed,
        cost=cost,
        digests={name: [run["digest"] for run in runs] for name, runs in found.items()},
    )


def _equal(same: bool) -> str:
    return "bit for bit the same" if same else "not the same bits"
