"""What an evaluation reports besides its figures: intervals, classes and examples."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnn_jax.metrics import bootstrap, calibration, per_class, weighted_precision
from cnn_jax.metrics.bootstrap import Interval
from cnn_jax.run import class_figures
from cnn_jax.run.held_examples import names_of
from cnn_jax.run.measuring import Measured

# Detections, times thresholds and resamples, that the intervals of a detector may cost: a minute.
MOST_CELLS = 2e9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """A closer look at an evaluation.

    Attributes:
        figures: figures by name: those of the evaluation, and more.
        intervals: their confidence intervals, as far as they have one.
        resamples: number of sets that these come from.
        classes: figures by name of each class that occurs: {'class': ..., 'recall': ...}.
        confusion: counts [K, K], rows are the truth; None if the task has none.
        reliability: confidence against accuracy, of classification.
        examples: {'example': name, 'fault': ...} of each, the hardest first.
        hardest: indices of the examples, the hardest first.
    """

    figures: dict[str, float]
    intervals: dict[str, Interval]
    resamples: int
    classes: list[dict[str, Any]]
    confusion: np.ndarray | None = None
    reliability: calibration.Reliability | None = None
    examples: list[dict[str, Any]]
    hardest: np.ndarray


def report(measured: Measured, *, resamples: int = bootstrap.RESAMPLES, seed: int = 0) -> Report:
    """A closer look at what `measure` found, by the task of the network.

    Args:
        measured: made with `details`.
        resamples: sets for the confidence intervals, see `cnn_jax.metrics.bootstrap`; 0 for none.
        seed: seed of these.
    """
    kind = _KINDS.get(measured.predictor.facts.task, _plain)
    return kind(measured, resamples, seed)


def _classification(measured: Measured, resamples: int, seed: int) -> Report:
    names, known = measured.predictor.facts.class_names, measured.labels.images
    logits = measured.row("logits").astype(np.float64)
    if measured.among is not None:
        logits = np.where(measured.among, logits, -np.inf)
    predicted, label = logits.argmax(-1), measured.row("label").astype(int)
    log_shares = logits - logits.max(-1, keepdims=True)
    log_shares -= np.log(np.exp(log_shares).sum(-1, keepdims=True))
    if known is not None:  # right is what is among an image's classes
        sets = [set(known[i]) for i in measured.counted]
        label = np.array(
            [p if p in s else first for p, s, first in zip(predicted, sets, label, strict=True)],
            int,
        )
        inside = np.zeros(logits.shape, bool)
        for row, some in enumerate(sets):
            inside[row, list(some)] = True
        five = np.take_along_axis(inside, np.argsort(-logits, kind="stable")[:, :5], 1).any(-1)
    else:
        five = (np.argsort(-logits, kind="stable")[:, :5] == label[:, None]).any(-1)
    right, rows = predicted == label, np.arange(len(label))
    sure, loss = np.exp(log_shares[rows, predicted]), -log_shares[rows, label]
    brier = (np.exp(log_shares) ** 2).sum(-1) - 2 * np.exp(-loss) + 1
    k = len(names)
    is_loss = getattr(measured.recipe, "loss", "") == "cross_entropy"
    entropy = "loss" if is_loss else "cross_entropy"

    def statistic(weights: np.ndarray) -> dict[str, float]:
        total = weights.sum()
        counts = np.bincount(label * k + predicted, weights, minlength=k * k).reshape(k, k)
        each = per_class.from_confusion(counts)
        found = {"accuracy": right @ weights / total}
        if len(names) > 5:
            found["top5"] = five @ weights / total
        return {
            **found,
            entropy: loss @ weights / total,
            "brier": brier @ weights / total,
            "balanced_accuracy": _mean(each.recall),
            "f1": _mean(np.where(each.support > 0, each.f1, np.nan)),
            "calibration_error": calibration.reliability(sure, right, weights=weights).error,
        }

    own = np.ones(len(label))
    figures, shares = statistic(own), np.exp(log_shares)
    if known is not None:  # the device counted the first class of each image alone
        measured.figures.update({n: v for n, v in figures.items() if n in measured.figures})
    average = per_class.average_precision(shares, label)
    counts = np.bincount(label * k + predicted, minlength=k * k).reshape(k, k)
    order = np.argsort(-loss, kind="stable")
    listed = _names(measured)
    return Report(
        figures={**figures, "mean_average_precision": _mean(average), **measured.figures},
        intervals=_intervals(statistic, len(label), resamples, seed),
        resamples=resamples,
        classes=[
            {**row, "average_precision": average[i]}
            for i, row in enumerate(class_figures.of_confusion(counts, names))
            if counts[i].any() or counts[:, i].any()
        ],
        confusion=counts,
        reliability=calibration.reliability(sure, right),
        examples=[
            {
                "example": listed[measured.counted[i]],
                "class": names[label[i]],
                "predicted": names[predicted[i]],
                "probability": sure[i],
                "loss": loss[i],
            }
            for i in order
        ],
        hardest=measured.counted[order],
    )


def _segmentation(measured: Measured, resamples: int, seed: int) -> Report:
    names = measured.predictor.facts.class_names
    pixels = measured.row("pixels").astype(np.float64)  # [n, K, (true, predicted, both)]
    flat = pixels.reshape(len(pixels), -1)

    def statistic(weights: np.ndarray) -> dict[str, float]:
        truth, predicted, both = (weights @ flat).reshape(-1, 3).T
        union = truth + predicted - both
        return {
            "mean_iou": _mean(_ratio(both, union)),
            "pixel_accuracy": float(both.sum() / truth.sum()) if truth.any() else float("nan"),
            "mean_accuracy": _mean(_ratio(both, truth)),
            "dice": _mean(_ratio(2 * both, truth + predicted)),
        }

    truth, predicted, _ = pixels.sum(0).T
    own = pixels[..., 2].sum(1) / np.maximum(pixels[..., 0].sum(1), 1)
    of_image = np.array(
        [_mean(_ratio(each[:, 2], each[:, 0] + each[:, 1] - each[:, 2])) for each in pixels]
    )
    order = np.argsort(np.nan_to_num(of_image, nan=2.0), kind="stable")
    listed = _names(measured)
    return Report(
        figures={**statistic(np.ones(len(pixels))), **measured.figures},
        intervals=_intervals(statistic, len(pixels), resamples, seed),
        resamples=resamples,
        classes=[
            {"class": row["class"], "images": int((pixels[:, i, 0] > 0).sum()), **row}
            for i, row in enumerate(
                class_figures.of_pixels(measured.observed.sums["confusion"], names)
            )
            if truth[i] or predicted[i]
        ],
        confusion=np.asarray(measured.observed.sums["confusion"], np.int64),
        examples=[
            {
                "example": listed[measured.counted[i]],
                "mean_iou": of_image[i],
                "pixel_accuracy": own[i],
            }
            for i in order
        ],
        hardest=measured.counted[order],
    )


def _detection(measured: Measured, resamples: int, seed: int) -> Report:
    from cnn_jax.analysis import detection_figures  # late: Matplotlib

    names = measured.predictor.facts.class_names
    detections, truth = measured.row("detections"), measured.row("truth")
    verdicts = [detection_figures.judge(d, t) for d, t in zip(detections, truth, strict=True)]
    found = np.array([right.sum() for _, right, _ in verdicts], int)
    wrong = np.array([(~right).sum() for _, right, _ in verdicts], int)
    missed = np.array([lost.sum() for _, _, lost in verdicts], int)
    order = np.argsort(-(wrong + missed), kind="stable")
    listed = _names(measured)
    outcomes = weighted_precision.outcomes(detections, truth, len(names))
    table = weighted_precision.by_class(outcomes, np.ones(len(truth)))
    objects = [int(((truth[..., 5] == k) & (truth[..., 4] == 0)).sum()) for k in range(len(names))]
    cells = sum(each.right.size for each in outcomes)
    kept = min(resamples, int(MOST_CELLS / max(cells, 1)))

    def statistic(weights: np.ndarray) -> dict[str, float]:
        return weighted_precision.means(weighted_precision.by_class(outcomes, weights))

    return Report(
        figures=dict(measured.figures),
        intervals=_intervals(statistic, len(truth), kept, seed),
        resamples=kept,
        classes=[
            {
                "class": names[k],
                "objects": objects[k],
                "ap": table["ap"][k],
                "ap50": table["ap50"][k],
                "ap75": table["ap75"][k],
                "recall100": table["recall100"][k],
            }
            for k in range(len(names))
            if objects[k]
        ],
        examples=[
            {
                "example": listed[measured.counted[i]],
                "found": found[i],
                "wrong": wrong[i],
                "missed": missed[i],
            }
            for i in order
        ],
        hardest=measured.counted[order],
    )


def _multilabel(measured: Measured, resamples: int, seed: int) -> Report:
    names = measured.predictor.facts.class_names
    threshold = getattr(measured.recipe, "threshold", 0.5)
    logits, label = measured.row("logits"), measured.row("label")
    rows = class_figures.of_labels(logits, label, names, threshold)
    kept = [row for row in rows if row["examples"] or np.isfinite(row["precision"])]
    return dataclasses.replace(_plain(measured, resamples, seed), classes=kept)


def _plain(measured: Measured, resamples: int, seed: int) -> Report:
    """Of a task that a user has added: its figures."""
    return Report(
        figures=dict(measured.figures),
        intervals={},
        resamples=0,
        classes=[],
        examples=[],
        hardest=measured.counted,
    )


_KINDS: Mapping[str, Callable[[Measured, int, int], Report]] = {
    "classification": _classification,
    "segmentation": _segmentation,
    "detection": _detection,
    "multilabel": _multilabel,
}


def _intervals(
    statistic: bootstrap.Statistic, examples: int, resamples: int, seed: int
) -> dict[str, Interval]:
    if resamples < 1:
        return {}
    return bootstrap.intervals(statistic, examples, resamples=resamples, seed=seed)


def _names(measured: Measured) -> list[str]:
    return names_of(measured.source)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
