"""The files of an evaluation: figures.json, tables as CSV, figures as PNG, and a page of it all."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax import strict_json
from cnn_jax.analysis import (
    detection_figures,
    evaluation_figures,
    figures,
    segmentation_figures,
    summary,
)
from cnn_jax.run import class_figures, evaluation_page, workdir
from cnn_jax.run.measuring import Measured
from cnn_jax.run.reports import Report
from cnn_jax.run.tables import write_rows

FIGURES_FILE = "figures.json"
PAGE_FILE = "index.html"
HARDEST = {"classification": 25, "segmentation": 6, "detection": 12}  # examples on the sheet


def write(measured: Measured, report: Report, directory: Path) -> dict[str, Any]:
    """Writes all files of an evaluation into a directory, created if missing.

    Returns:
        The content of figures.json.
    """
    directory.mkdir(parents=True, exist_ok=True)
    facts = measured.predictor.facts
    content = described(measured, report)
    text = strict_json.dumps({**content, **workdir.environment()}, indent=2)
    (directory / FIGURES_FILE).write_text(text + "\n", encoding="utf-8")
    if report.classes:
        write_rows(directory / class_figures.FILE, report.classes)
    if report.examples:
        write_rows(directory / "examples.csv", report.examples)
    pictures: list[tuple[Path, str]] = []
    if report.confusion is not None:
        _write_confusion(directory / "confusion.csv", report.confusion, facts.class_names)
        path = directory / "confusion.png"
        present = np.flatnonzero(report.confusion.any(0) | report.confusion.any(1))
        if len(present):
            shown = report.confusion[np.ix_(present, present)]
            figures.confusion_matrix(shown, [facts.class_names[i] for i in present], path)
            pictures.append((path, "Confusion: rows are the truth, columns what was predicted"))
    if report.reliability is not None:
        path = directory / "reliability.png"
        evaluation_figures.reliability_diagram(report.reliability, path)
        pictures.append((path, "Reliability: a calibrated network follows the dashed line"))
    if facts.task == "detection" and report.classes:
        path = directory / "precision_recall.png"
        rows = measured.row("detections"), measured.row("truth")
        detection_figures.precision_recall(*rows, facts.class_names, path)
        pictures.append((path, "Precision against recall"))
    if report.classes:
        name = next(n for n in ("iou", "ap", "recall") if n in report.classes[0])
        path = directory / "classes.png"
        listed = [each["class"] for each in report.classes]
        values = np.array([each[name] for each in report.classes], float)
        evaluation_figures.class_bars(listed, values, name, path)
        pictures.append((path, f"{evaluation_page.title(name)} of each class, the lowest first"))
    sheet = directory / "hardest.png"
    drawn = draw_hardest(measured, report, sheet)
    evaluation_page.write(
        directory / PAGE_FILE,
        content,
        report,
        facts.class_names,
        pictures,
        sheet if drawn else None,
    )
    return content


def described(measured: Measured, report: Report) -> dict[str, Any]:
    """What was measured, on what, with what result: the content of figures.json."""
    predictor, recipe = measured.predictor, measured.recipe
    facts = predictor.facts
    shape = facts.image_shape
    cost = None
    if shape and facts.task == "classification":
        cost = summary.total(summary.summarise(predictor.model, shape))["multiply_adds"]
    network = {
        "model": facts.model,
        "task": facts.task,
        "run": predictor.place,
        "step": predictor.step if predictor.place else None,
        "averaged": predictor.averaged,
        "classes": facts.num_classes,
        "input": list(shape),
        "parameters": sum(x.size for x in jax.tree.leaves(predictor.variables["params"])),
        "multiply_adds": cost,
    }
    return {
        "network": network,
        "data": {
            "dataset": recipe.dataset,  # type: ignore[attr-defined]
            "split": recipe.test_split,
            "examples": len(measured.counted),
            "left_out": len(measured.source) - len(measured.counted),
        },
        "figures": report.figures,
        "intervals": {name: list(ends) for name, ends in report.intervals.items()},
        "resamples": report.resamples,
        "settings": {
            "batch_size": recipe.eval_batch_size or recipe.batch_size,
            "precision": measured.precision or recipe.dtype,
            "views": list(measured.views),
            "freeze_inference": measured.freeze_inference,
        },
        "notes": list(measured.notes),
        "seconds": round(measured.seconds, 2),
        "images_per_second": round(measured.images_per_second, 1),
    }


def draw_hardest(measured: Measured, report: Report, path: Path) -> bool:
    """Draws the hardest examples on a sheet. Returns whether there are any."""
    facts = measured.predictor.facts
    chosen = report.hardest[: HARDEST.get(facts.task, 0)]
    if not len(chosen):
        return False
    batch, names = measured.batches.at(chosen), facts.class_names
    place = {int(index): row for row, index in enumerate(measured.counted)}
    rows = [place[int(index)] for index in chosen]
    if facts.task == "classification":
        logits = measured.row("logits")[rows].astype(np.float64)
        if measured.among is not None:
            logits = np.where(measured.among, logits, -1e9)
        figures.predictions(batch["image"], batch["label"], logits, names, path)
    elif facts.task == "segmentation":
        prepared = measured.held.prepare(dict(batch))["image"]
        outputs = measured.predictor.apply(prepared)
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        guess = np.asarray(logits).argmax(-1)
        segmentation_figures.predictions(batch["image"], batch["label"], guess, names, path)
    else:
        detections, truth = measured.row("detections")[rows], measured.row("truth")[rows]
        detection_figures.predictions(
            [batch], detections, truth, names, path, count=len(chosen), mistakes=len(chosen)
        )
    return True


def _write_confusion(path: Path, confusion: np.ndarray, names: Iterable[str]) -> None:
    listed = list(names)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["true \\ predicted", *listed])
        writer.writerows([name, *row.tolist()] for name, row in zip(listed, confusion, strict=True))
