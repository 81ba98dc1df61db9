"""Metrics by name that a run reports beside those of its task.

A metric of your own adds sums up on the device and divides them at the end:

    def observe(outputs, batch):
        scored = metrics.scored(outputs, batch)
        sure = jax.nn.softmax(scored.logits).max(-1)
        return {"sure": (sure * scored.mask).sum(), "count": scored.mask.sum()}

    def report(sums):
        return sums["sure"] / sums["count"]

    metrics.METRICS.register("confidence", metrics.Metric(observe, report))
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.metrics.counts import confusion_matrix
from cnn_jax.registry import Registry
from cnn_jax.typing import Array, Batch, Observed, Outputs, Task

BINS = 15  # of confidence: Guo et al. 2017, arXiv:1706.04599, section 5


class Metric(NamedTuple):
    """A figure of an evaluation, out of sums.

    Attributes:
        observe: (outputs, batch) -> arrays by name, on the device, which are added over batches
            and replicas. Padding, where batch['mask'] [B] is 0, must not count.
        report: the sums over the whole set, numpy float64 -> the figure, reported under the
            metric's name; or several by name, reported as 'metric/name'.
    """

    observe: Callable[[Outputs, Batch], Mapping[str, Array]]
    report: Callable[[Mapping[str, np.ndarray]], float | Mapping[str, float]]


class Scored(NamedTuple):
    """Scores and labels of whole images (no axis of space) or of pixels.

    Attributes:
        logits: [B, *space, K].
        labels: int32 [B, *space], 0..K-1; 0 where the mask is.
        mask: float32 [B, *space], 1 for what counts and 0 for padding and pixels to ignore.
    """

    logits: Array
    labels: Array
    mask: Array


def scored(outputs: Outputs, batch: Batch) -> Scored:
    """The scores and labels of a batch of classification or segmentation.

    Raises:
        ValueError: it is a batch of another task.
    """
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs
    if logits is None or "label" not in batch:
        raise ValueError("it is for classification and segmentation, which have a label per score.")
    labels = central(batch["label"], logits)
    mask = batch["mask"].reshape(-1, *(1,) * (labels.ndim - 1)) > 0
    counted = mask & (labels >= 0) & (labels < logits.shape[-1])
    return Scored(
        logits, jnp.where(counted, labels, 0).astype(jnp.int32), counted.astype(jnp.float32)
    )


def central(labels: Array, logits: Array) -> Array:
    """The middle of labels [B, *space] that logits [B, *smaller, K] belong to."""
    space = zip(labels.shape[1:], logits.shape[1:-1], strict=False)
    margins = [have - want for have, want in space]
    if labels.ndim != logits.ndim - 1 or any(margin < 0 or margin % 2 for margin in margins):
        raise ValueError(
            f"logits {logits.shape} cannot be those of the middle of labels {labels.shape}."
        )
    cuts = [
        slice(margin // 2, margin // 2 + size)
        for margin, size in zip(margins, logits.shape[1:], strict=False)
    ]
    return labels[(slice(None), *cuts)]


def _brier(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    logits, labels, mask = scored(outputs, batch)
    truth = jax.nn.one_hot(labels, logits.shape[-1])
    error = ((jax.nn.softmax(logits.astype(jnp.float32)) - truth) ** 2).sum(-1)
    return {"error": jnp.where(mask > 0, error, 0).sum(), "count": mask.sum()}


def _confidences(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    logits, labels, mask = scored(outputs, batch)
    confidence = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
    index = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    share = jax.nn.one_hot(index, BINS) * mask[..., None]
    axes = tuple(range(mask.ndim))
    right = (logits.argmax(-1) == labels)[..., None]
    return {
        "confidence": jnp.where(share > 0, confidence[..., None], 0).sum(axes),
        "right": (share * right).sum(axes),
        "count": mask.sum(),
    }


def _calibration_error(sums: Mapping[str, np.ndarray]) -> float:
    return float(np.abs(sums["confidence"] - sums["right"]).sum() / sums["count"])


def _confusion(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    logits, labels, mask = scored(outputs, batch)
    classes = logits.shape[-1]
    return {"counts": confusion_matrix(logits.argmax(-1), labels, num_classes=classes, mask=mask)}


def _balanced_accuracy(sums: Mapping[str, np.ndarray]) -> float:
    truth = sums["counts"].sum(1)
    return float((np.diag(sums["counts"])[truth > 0] / truth[truth > 0]).mean())


def _f1(sums: Mapping[str, np.ndarray]) -> float:
    counts = sums["counts"]
    sizes = counts.sum(0) + counts.sum(1)
    return float((2 * np.diag(counts)[sizes > 0] / sizes[sizes > 0]).mean())


METRICS: Registry[Metric] = Registry(
    "metric", wanted="a Metric", check=lambda value: isinstance(value, Metric)
)
# The squared error of the probabilities, 0 to 2: Brier 1950.
METRICS.register("brier", Metric(_brier, lambda sums: float(sums["error"] / sums["count"])))
# The expected calibration error: Guo et al. 2017, arXiv:1706.04599, equation 3.
METRICS.register("calibration_error", Metric(_confidences, _calibration_error))
# The mean recall of the classes that occur.
METRICS.register("balanced_accuracy", Metric(_confusion, _balanced_accuracy))
# The mean over the classes that occur or are predicted; of pixels, the Dice coefficient.
METRICS.register("f1", Metric(_confusion, _f1))


def metric_names(names: str | Iterable[str]) -> str:
    """['brier', 'f1'] -> 'brier,f1', the form in which a recipe keeps them."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    return ",".join(part.strip() for part in parts if part.strip())


def parse(names: str | Iterable[str]) -> tuple[str, ...]:
    """'brier,f1' -> ('brier', 'f1').

    Raises:
        ValueError: a metric is unknown, or given twice.
    """
    found = tuple(filter(None, metric_names(names).split(",")))
    for name in found:
        METRICS[name]  # raises ValueError with the nearest names
        if found.count(name) > 1:
            raise ValueError(f"The metric {name!r} is given twice in {names!r}; give it once.")
    return found


def with_metrics(task: Task, names: str | Iterable[str]) -> Task:
    """The task, which also observes and reports metrics.

    Args:
        task: the task.
        names: of METRICS: 'brier,f1'.

    Raises:
        ValueError: see `parse`. In evaluation: the metric cannot be computed for this task, or one
            has the name of a figure of the task's own.
    """
    names = parse(names)
    if not names:
        return task

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        observed = task.observe(outputs, batch)
        more: dict[str, Any] = {}
        for name in names:
            for own, value in _tried(name, METRICS[name].observe, outputs, batch).items():
                more[_sum_name(name, own)] = value
        return Observed({**observed.sums, **more}, observed.rows)

    def report(observed: Observed) -> dict[str, float]:
        own = {key: value for key, value in observed.sums.items() if not key.startswith(PREFIX)}
        figures = dict(task.report(Observed(own, observed.rows)))
        for name in names:
            start = _sum_name(name, "")
            sums = {
                key.removeprefix(start): np.asarray(value, np.float64)
                for key, value in observed.sums.items()
                if key.startswith(start)
            }
            for key, value in _figures(name, _tried(name, METRICS[name].report, sums)).items():
                if key in figures:
                    raise ValueError(
                        f"The metric {name!r} ({METRICS.origin(name)}) reports {key!r}, which the "
                        "task reports already; register it under another name."
                    )
                figures[key] = value
        return figures

    return task._replace(observe=observe, report=report)


PREFIX = "metric:"


def _sum_name(metric: str, own: str) -> str:
    return f"{PREFIX}{metric}:{own}"


def _figures(name: str, reported: Any) -> dict[str, float]:
    if isinstance(reported, Mapping):
        return {f"{name}/{key}": float(value) for key, value in reported.items()}
    return {name: float(reported)}


def _tried(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """What it returns; an error in it is the metric's, and is said to be."""
    try:
        result = function(*args)
        if function is METRICS[name].observe and not isinstance(result, Mapping):
            raise ValueError(f"observe returned {type(result).__name__}; wanted a dict of arrays.")
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        first = said.strip().partition("\n")[0]
        raise ValueError(f"The metric {name!r} ({METRICS.origin(name)}) fails: {first}") from error
    return result
