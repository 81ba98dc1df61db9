"""The examples that networks judge differently, one network of each group.

They come from what `experiments.evaluate` has left, or from evaluating the runs now.
"""

import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_jax.run.comparing.comparable import Field
from cnn_jax.run.comparing.groups import Group
from cnn_jax.run.comparing.records import FINISHED, Record

MOST = 8  # networks
SHOWN = 24  # examples with their images
LISTED = 200
LARGEST = 160  # pixels of an image on the page
# By task: the figure of an example that is compared, and whether more of it is better.
_FIGURES = {"segmentation": (("mean_iou",), True), "detection": (("wrong", "missed"), False)}


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """How two networks judge the same examples.

    Attributes:
        names: of the two groups, the reference first.
        runs: whose networks they are.
        counts: of classification: {'both right', 'only the first', 'only the second', 'both
            wrong', 'different answers'}; of other tasks: which is better on how many.
        difference: of the accuracies, second - first, with half its 95% interval over the
            examples; None for other tasks.
        examples: those on which they differ the most: {'example', 'class', and what each said}.
        images: PNG of the first ones, by the name of the example.
    """

    names: tuple[str, str]
    runs: tuple[str, str]
    counts: Mapping[str, int]
    difference: tuple[float, float] | None
    examples: list[dict[str, Any]]
    images: Mapping[str, bytes]

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": list(self.names),
            "runs": list(self.runs),
            "counts": dict(self.counts),
            "accuracy_difference": self.difference and self.difference[0],
            "half_width_95_over_examples": self.difference and self.difference[1],
            "examples": self.examples,
        }


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What a network makes of each example, by its name, and how to see one."""

    group: Group
    run: Record
    rows: dict[str, dict[str, Any]]
    image: Callable[[str], bytes | None]


def of_groups(
    fields: Sequence[Field], *, evaluate: bool, evaluations: Path, say: Callable[[str], None]
) -> tuple[list[Disagreement], list[str]]:
    """The disagreements of the groups of each field, of test figures where there are some, with
    the first of its groups; and what to say about them."""
    found: list[Disagreement] = []
    notes: list[str] = []
    done: set[int] = set()
    for field in sorted(fields, key=lambda field: field.part != "test"):
        own = [group for group in field.groups if group.finished and id(group) not in done]
        if len(own) < 2:
            continue
        done |= {id(group) for group in own}
        judged = []
        for group in own[:MOST]:
            try:
                one = _judged(group, evaluate, evaluations, say)
            except (ValueError, OSError) as error:
                why = " ".join(str(error).split())
                notes.append(f"{group.name} is not among the disagreements: {why}")
                continue
            if one is not None:
                judged.append(one)
        if len(own) > MOST and len(judged) > 1:
            notes.append(f"Disagreements are of the first {MOST} of {len(own)} groups.")
        for other in judged[1:]:
            two = _between(judged[0], other)
            if two is None:
                names = f"{judged[0].group.name} and {other.group.name}"
                notes.append(f"No disagreements of {names}: their examples differ.")
            else:
                found.append(two)
    return found, notes


def _judged(
    group: Group, evaluate: bool, evaluations: Path, say: Callable[[str], None]
) -> _Judged | None:
    run = next((r for r in group.runs if r.state == FINISHED and not r.shared), None)
    if run is None:
        if evaluate:
            raise ValueError("runs of several seeds in one directory save no networks.")
        return None
    rows = _left(run, evaluations)
    if rows is not None and not evaluate:
        return _Judged(group, run, rows, lambda name: None)
    if not evaluate:
        return None
    say(f"Evaluating {run.name} ...")
    return _evaluated(group, run)


def _evaluated(group: Group, run: Record) -> _Judged:
    from cnn_jax.run import measuring, reports  # which take a while to load
    from cnn_jax.run import result as results
    from cnn_jax.run.opening import open

    step = results.recorded(run.place)[0]
    measured = measuring.measure(open(run.place, checkpoint=step or "best"))
    report = reports.report(measured, resamples=0)
    if not report.examples:
        raise ValueError(f"nothing is known of single examples of {run.task}.")
    place = {row["example"]: i for row, i in zip(report.examples, report.hardest, strict=True)}

    def image(name: str) -> bytes | None:
        pixels = np.asarray(measured.batches.at([place[name]])["image"])[0]
        return _png(pixels) if pixels.ndim == 3 and pixels.dtype == np.uint8 else None

    return _Judged(group, run, _by_name(report.examples), image)


def _png(pixels: np.ndarray) -> bytes | None:
    """An image [H, W, 1 or 3] as a file, at most LARGEST pixels wide and high."""
    if pixels.shape[-1] not in (1, 3):
        return None
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _left(run: Record, evaluations: Path) -> dict[str, dict[str, Any]] | None:
    """What an evaluation of this run on its own data has left; None if there is none."""
    step = run.result.get("chosen_step") if run.part == "val" else run.result.get("steps")
    for file in sorted(evaluations.glob("*/figures.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(file.read_text(encoding="utf-8"))
            network, data = content["network"], content["data"]
            same = os.path.realpath(network["run"] or "") == os.path.realpath(run.place)
            wanted = run.settings.get("dataset"), run.settings.get("test_split")
            own = (data["dataset"], data["split"]) == wanted and not content["settings"]["views"]
            if same and own and network["step"] == step:
                with (file.parent / "examples.csv").open(newline="", encoding="utf-8") as rows:
                    return _by_name(list(csv.DictReader(rows)))
    return None


def _by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(row["example"]): dict(row) for row in rows}


def _between(one: _Judged, other: _Judged) -> Disagreement | None:
    """None if the examples are others."""
    common = [name for name in one.rows if name in other.rows]
    if len(common) < len(one.rows) or len(common) < len(other.rows):
        return None
    if "predicted" in one.rows[common[0]]:
        counts, difference, chosen = _of_classes(one.rows, other.rows, common)
    else:
        counts, difference, chosen = _of_figures(one, other, common)
    images = {}
    for row in chosen[:SHOWN]:
        picture = one.image(row["example"]) or other.image(row["example"])
        if picture is not None:
            images[row["example"]] = picture
    names = one.group.name, other.group.name
    return Disagreement(
        names, (one.run.name, other.run.name), counts, difference, chosen[:LISTED], images
    )


def _of_classes(one: Mapping, other: Mapping, common: Sequence[str]) -> tuple:
    counts = dict.fromkeys(
        ("both right", "only the first", "only the second", "both wrong", "different answers"), 0
    )
    chosen = []
    for name in common:
        a, b = one[name], other[name]
        right = a["predicted"] == a["class"], b["predicted"] == b["class"]
        counts[_OUTCOMES[right]] += 1
        if a["predicted"] != b["predicted"]:
            counts["different answers"] += 1
            sure = float(a["probability"]), float(b["probability"])
            chosen.append(
                {
                    "example": name,
                    "class": a["class"],
                    "first": a["predicted"],
                    "first_probability": sure[0],
                    "second": b["predicted"],
                    "second_probability": sure[1],
                }
            )
    chosen.sort(key=lambda row: -min(row["first_probability"], row["second_probability"]))
    n, lost, won = len(common), counts["only the first"], counts["only the second"]
    mean = (won - lost) / n
    spread = max((won + lost) / n - mean**2, 0.0) ** 0.5
    return counts, (mean, 1.96 * spread / n**0.5), chosen


_OUTCOMES = {
    (True, True): "both right",
    (True, False): "only the first",
    (False, True): "only the second",
    (False, False): "both wrong",
}


def _of_figures(one: _Judged, other: _Judged, common: Sequence[str]) -> tuple:
    names, more = _FIGURES.get(one.run.task, ((), True))
    counts = {"the first is better": 0, "the second is better": 0, "the same": 0}
    chosen: list[dict[str, Any]] = []
    for name in common:
        a, b = (sum(_number(each.rows[name].get(n)) for n in names) for each in (one, other))
        if a != a or b != b or a == b:
            counts["the same"] += 1
            continue
        better = (b > a) == more
        counts["the second is better" if better else "the first is better"] += 1
        chosen.append({"example": name, "first": a, "second": b})
    chosen.sort(key=lambda row: -abs(row["first"] - row["second"]))
    return counts, None, chosen


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):  # an empty cell
        return float("nan")
