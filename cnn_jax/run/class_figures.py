"""Figures of each class at the end of a run: classes.csv, and `per_class` of result.json.

Both are made of what the evaluation has observed, so that they cost nothing but a few divisions,
and by the functions that `experiments.evaluate` uses. A figure that is undefined, such as the
recall of a class without examples, is null in JSON and empty in CSV.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.metrics import per_class, several
from cnn_jax.run import tables
from cnn_jax.run.experiment import Experiment
from cnn_jax.typing import Observed

FILE = "classes.csv"
LISTED = 100  # classes in result.json; of more, those with the lowest figure, and all in FILE

Rows = list[dict[str, Any]]


def of_confusion(confusion: np.ndarray, names: Sequence[str]) -> Rows:
    """Of one label an example: counts [K, K], whose rows are the truth."""
    each = per_class.from_confusion(confusion)
    return _rows(
        names,
        examples=each.support.astype(int),
        precision=each.precision,
        recall=each.recall,
        f1=each.f1,
    )


def of_labels(
    logits: np.ndarray, label: np.ndarray, names: Sequence[str], threshold: float
) -> Rows:
    """Of several labels an example: logits and labels [n, K], predicted from `threshold` on."""
    probability = 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700)))
    predicted, truth = probability >= threshold, np.asarray(label) > 0
    right, of_class, said = (predicted & truth).sum(0), truth.sum(0), predicted.sum(0)
    return _rows(
        names,
        examples=of_class,
        precision=_ratio(right, said),
        recall=_ratio(right, of_class),
        f1=_ratio(2 * right, said + of_class),
        average_precision=several.average_precision(logits, label),
    )


def of_pixels(confusion: np.ndarray, names: Sequence[str]) -> Rows:
    """Of a label for each pixel: counts [K, K] of pixels, whose rows are the truth."""
    counts = np.asarray(confusion, np.float64)
    both, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    return _rows(
        names,
        pixels=truth.astype(int),
        iou=_ratio(both, truth + predicted - both),
        precision=_ratio(both, predicted),
        recall=_ratio(both, truth),
        dice=_ratio(2 * both, truth + predicted),
    )


def of_boxes(truth: np.ndarray, figures: Mapping[str, float], names: Sequence[str]) -> Rows:
    """Of boxes: truth [B, N, 6], see `cnn_jax.metrics.average_precision`, and `ap/<class>`."""
    counted = truth[..., 5][truth[..., 4] == 0]
    objects = [int((counted == k).sum()) for k in range(len(names))]
    undefined = float("nan")
    found = [
        undefined if not count or (ap := figures.get(f"ap/{name}")) is None else float(ap)
        for name, count in zip(names, objects, strict=True)
    ]
    return _rows(names, objects=np.array(objects, int), ap=np.array(found))


def of_evaluation(
    task: str, observed: Observed, figures: Mapping[str, float], names: Sequence[str], recipe: Any
) -> Rows:
    """The figures of each class, of a task of ours; [] for another.

    Args:
        task: name of the task.
        observed: of the evaluation.
        figures: its figures.
        names: K names.
        recipe: of the run.
    """
    if task == "classification":
        return of_confusion(observed.sums["confusion"], names)
    if task == "segmentation":
        return of_pixels(observed.sums["confusion"], names)
    if task == "detection":
        return of_boxes(observed.rows["truth"], figures, names)
    if task == "multilabel":
        kept = np.asarray(observed.rows["mask"]) > 0
        logits, label = (observed.rows[name][kept] for name in ("logits", "label"))
        return of_labels(logits, label, names, getattr(recipe, "threshold", 0.5))
    return []


def written(
    directory: Path, recipe: Any, experiment: Experiment, observed: Any, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes classes.csv of a finished run, and returns `per_class` for its result.json.

    Args:
        directory: of the run.
        recipe, experiment: what was run.
        observed: of the evaluation that the figures are of.
        result: the content of result.json so far.

    Returns:
        {} for a task without such figures.
    """
    if observed is None:
        return {}
    part = "test" if any(name.startswith("test_") for name in result) else "val"
    start, facts = f"{part}_", experiment.facts
    figures = {n.removeprefix(start): v for n, v in result.items() if n.startswith(start)}
    rows = of_evaluation(facts.task, observed, figures, facts.class_names, recipe)
    if not rows:
        return {}
    tables.write_rows(directory / FILE, rows)
    return {"per_class": bounded(rows, part)}


def bounded(rows: Rows, part: str) -> dict[str, Any]:
    """What result.json has of them.

    All classes, in their order; of more than LISTED those with the lowest IoU, AP or F1.

    Args:
        rows: of all classes.
        part: what was evaluated: 'test' or 'val'.
    """
    found: dict[str, Any] = {"split": part, "number": len(rows)}
    if len(rows) > LISTED:
        name = next(name for name in ("iou", "ap", "f1") if name in rows[0])
        known = [row for row in rows if np.isfinite(row[name])]
        rows = sorted(known, key=lambda row: row[name])[:LISTED]
        found["listed"] = f"the {len(rows)} lowest by {name}; all are in {FILE}"
    return {**found, "classes": rows}


def _rows(names: Sequence[str], **columns: np.ndarray) -> Rows:
    return [
        {"class": str(name), **{key: values[i].item() for key, values in columns.items()}}
        for i, name in enumerate(names)
    ]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
