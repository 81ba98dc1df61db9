"""Classification with several labels for an image, or none: one yes or no for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnn_jax import losses
from cnn_jax.losses import named
from cnn_jax.metrics import several
from cnn_jax.typing import Batch, Mean, Observed, Outputs, Task

BEST = "map"  # metric by which the best checkpoint is kept
THRESHOLD = 0.5  # of the probability from which on a label is predicted

# Losses that are a sum over the classes, each against all others.
CLASSWISE = ("binary_cross_entropy", "focal")


def multilabel(
    class_names: Sequence[str],
    *,
    label_smoothing: float = 0.0,
    loss: str | Mapping[str, float] = "binary_cross_entropy",
) -> Task:
    """The task of predicting `batch['label']` [B, K], 0 or 1 for each class.

    It reports `map`, the mean over the classes of the average precision; `auc`, that of the area
    under the ROC curve; `label_accuracy`, the share of all B * K labels that are predicted, at a
    probability of THRESHOLD; `loss`; and `ap/<class>` for each class. Classes without examples, or
    without others, have no part in the means.

    Args:
        class_names: K names.
        label_smoothing: s in [0, 1): in training a label t becomes (1 - s) t + s / 2.
        loss: losses of CLASSWISE with their weights, see `cnn_jax.losses.parse`.

    Raises:
        ValueError: label_smoothing is outside [0, 1), or a loss is unknown, or is one for a single
            label.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}: it must be in [0, 1).")
    factors = losses.parse(loss)
    for name in factors:
        if name in ("cross_entropy", "dice", "jaccard"):
            raise ValueError(
                f"The loss {name!r} is for one label an image: choose {' or '.join(CLASSWISE)}."
            )
        named.check(name, space=(), num_classes=len(class_names))

    def terms(logits: Any, target: Any, mask: Any) -> dict[str, Mean]:
        logits = losses.at_least_float32(logits)
        found = {}
        for name, factor in factors.items():
            total, weight = losses.LOSSES[name](logits, target.astype(logits.dtype), mask)
            found[name] = Mean(factor * total, weight)
        return found

    def training_loss(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        target = batch.get("target", batch["label"])
        target = (1 - label_smoothing) * target + label_smoothing / 2
        by_head = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        means = {}
        for head, logits in by_head.items():
            for name, (total, weight) in terms(logits, target, batch["mask"]).items():
                if head == "logits":
                    means[name] = Mean(total, weight)
                else:
                    means[f"{head}_{name}"] = Mean(0.3 * total, weight)
        return means

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        label, mask = batch["label"], batch["mask"]
        sums = {"examples": (mask > 0).sum(dtype=jnp.int32)}
        for name, mean in terms(logits, label, mask).items():
            sums[f"loss_{name}"], sums[f"loss_{name}_weight"] = mean.total, mean.weight
        rows = {
            "logits": losses.at_least_float32(logits),
            "label": label.astype(jnp.int8),
            "mask": mask,
        }
        return Observed(sums=sums, rows=rows)

    def report(observed: Observed) -> dict[str, float]:
        kept = np.asarray(observed.rows["mask"]) > 0
        logits, label = (np.asarray(observed.rows[name])[kept] for name in ("logits", "label"))
        sums = {name: float(np.asarray(value)) for name, value in observed.sums.items()}
        precision = several.average_precision(logits, label)
        area = several.area_under_roc(logits, label)
        figures = {
            "map": _mean(precision),
            "auc": _mean(area),
            "label_accuracy": float(((logits > 0) == (label > 0)).mean()),
            "loss": sum(sums[f"loss_{n}"] / sums[f"loss_{n}_weight"] for n in factors),
        }
        own = zip(class_names, precision, strict=True)
        return {**figures, **{f"ap/{name}": float(v) for name, v in own if not np.isnan(v)}}

    return Task(loss=training_loss, observe=observe, report=report)


def _mean(values: np.ndarray) -> float:
    """The mean of those that are defined; nan for none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
