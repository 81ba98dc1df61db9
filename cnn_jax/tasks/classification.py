"""Classification: one label for an image, a sequence or a volume."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import augment as augmentations
from cnn_jax import losses, metrics
from cnn_jax.augment import mix
from cnn_jax.losses import named
from cnn_jax.tasks.prepare import make_prepare as make_prepare
from cnn_jax.typing import Array, Batch, Mean, Observed, Outputs, Task

BEST = "accuracy"  # metric by which the best checkpoint is kept

# Weight of the auxiliary heads: GoogLeNet, arXiv:1409.4842 section 5, "weighted by 0.3".
AUXILIARY_WEIGHT = 0.3


def classification(
    num_classes: int,
    *,
    label_smoothing: float = 0.0,
    loss: str | Mapping[str, float] = "cross_entropy",
    class_weights: Sequence[float] | np.ndarray | None = None,
) -> Task:
    """The task of predicting `batch['label']`, or the soft `batch['target']` if there is one.

    It reports `accuracy`, `top5` (for 6 classes or more) and `loss`: the loss for the labels as
    they are, without smoothing. In training it reports the accuracy too, of the images as they are
    augmented, unless these are mixed. Accuracy is that of the largest logit whatever the loss,
    which for losses of one class against the others is the most probable one too.

    Args:
        num_classes: K, the width of the logits.
        label_smoothing: label smoothing s in [0, 1), applied to the training loss only. The target
            of a class becomes (1 - s) t + s / K for every loss: with the softmax's cross-entropy a
            distribution still; for losses of one class against the others, K probabilities. So
            does mixup: (1 - w) of one label and w of the other, for each class.
        loss: losses of `cnn_jax.losses.LOSSES` with their weights, see `cnn_jax.losses.parse`.
        class_weights: K weights of the examples by their class in training; None for ones. An
            example of several classes, after mixup, has their mean in its proportions.

    Raises:
        ValueError: label_smoothing is outside [0, 1), there are not K weights, or a loss is
            unknown, is not for labels of whole images, or returns something else than a Mean.
    """
    if class_weights is not None and len(class_weights) != num_classes:
        raise ValueError(
            f"{len(class_weights)} class weights for {num_classes} classes: give as many."
        )
    weights = None if class_weights is None else np.asarray(class_weights, np.float32)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}: it must be in [0, 1).")
    factors = losses.parse(loss)
    for name in factors:
        named.check(name, space=(), num_classes=num_classes)

    def of_head(logits: Array, target: Array, mask: Array) -> dict[str, Mean]:
        return {name: losses.LOSSES[name](logits, target, mask) for name in factors}

    def training_loss(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        labels = batch.get("target", batch["label"])
        by_head = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        mask = batch["mask"]
        if weights is not None:
            own = jnp.asarray(weights)
            mask = mask * (own[labels] if labels.ndim == 1 else labels @ own)
        means = {}
        for head, logits in by_head.items():
            logits = losses.at_least_float32(logits)
            target = losses.target_of(logits, labels, label_smoothing=label_smoothing)
            share = 1.0 if head == "logits" else AUXILIARY_WEIGHT
            for name, (total, weight) in of_head(logits, target, mask).items():
                factor = share * factors[name]
                means[_mean_name(head, name)] = Mean(
                    total if factor == 1 else factor * total, weight
                )
        return means

    def _mean_name(head: str, name: str) -> str:
        if head == "logits":
            return name
        return head if len(factors) == 1 else f"{head}_{name}"

    # a sum of its own for each loss, since each has its own weight
    sum_names = {name: "loss" if len(factors) == 1 else f"loss_{name}" for name in factors}

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        label, mask = batch["label"], batch["mask"]
        counts = {
            "correct": metrics.top_k_correct(logits, label, k=1, mask=mask),
            "correct_top5": metrics.top_k_correct(logits, label, k=5, mask=mask),
            "confusion": metrics.confusion_matrix(
                logits.argmax(-1), label, num_classes=num_classes, mask=mask
            ),
            "examples": (mask > 0).sum(dtype=jnp.int32),
        }
        logits = losses.at_least_float32(logits)
        for name, mean in of_head(logits, losses.target_of(logits, label), mask).items():
            counts[sum_names[name]] = mean.total
            counts[f"{sum_names[name]}_weight"] = mean.weight
        return Observed(sums=counts, rows={})

    def report(observed: Observed) -> dict[str, float]:
        sums = {name: np.asarray(value, np.float64) for name, value in observed.sums.items()}
        examples = sums["examples"]
        figures: dict[str, Any] = {"accuracy": sums["correct"] / examples}
        if num_classes > 5:
            figures["top5"] = sums["correct_top5"] / examples
        figures["loss"] = sum(
            factors[name] * sums[total] / sums[f"{total}_weight"]
            for name, total in sum_names.items()
        )
        return {name: float(value) for name, value in figures.items()}

    def watch(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        if "target" in batch or batch["label"].ndim > 1:  # of several labels none is the class
            return {}
        logits: Any = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        mask = batch["mask"]
        right = metrics.top_k_correct(logits, batch["label"], k=1, mask=mask)
        return {"accuracy": Mean(right.astype(jnp.float32), (mask > 0).sum(dtype=jnp.float32))}

    return Task(loss=training_loss, observe=observe, report=report, watch=watch)


def example_rows(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """What a closer look needs of each example: `logits` float32 [B, K] and `label` [B]."""
    logits: Any = outputs["logits"] if isinstance(outputs, Mapping) else outputs
    label: Any = batch["label"]
    return {"logits": losses.at_least_float32(logits), "label": label}


def choosing_among(task: Task, among: np.ndarray) -> Task:
    """The task with predictions among some classes alone.

    Args:
        task: of classification.
        among: bool [K]; the logits of the others become the least that there is.
    """

    def restricted(outputs: Outputs) -> Outputs:
        logits: Any = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        # no infinity: the cross-entropy multiplies it by 0
        return jnp.where(among, losses.at_least_float32(logits), -1e9)

    return task._replace(observe=lambda outputs, batch: task.observe(restricted(outputs), batch))


def make_augment(
    prepare: Callable[[Batch], Batch],
    *,
    num_classes: int,
    augment: str = "",
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> Callable[[Array, Batch], Batch]:
    """Builds the random augmentation of training batches, on the device.

    Args:
        prepare: applied after the augmentation of single images: `make_prepare(...)`.
        num_classes: K, the width of the soft targets.
        augment: a list such as 'flip,crop:4', see `cnn_jax.augment.parse`.
        mixup: alpha of the Beta distribution (arXiv:1710.09412); 0 switches it off.
        cutmix: alpha of the Beta distribution (arXiv:1905.04899); 0 switches it off. With both,
            each pair draws one of the two with equal probability.

    Returns:
        (keys [B], batch) -> batch, with soft labels `target` [B, K] if images are mixed.
    """
    each = augmentations.parse(augment, holds="label")

    def augment_batch(keys: Array, batch: Batch) -> Batch:
        draws = jax.vmap(lambda key: jax.random.split(key, 2))(keys)  # [B, 2]
        image = augmentations.to_unit(batch["image"])
        image = augmentations.apply(each, draws[:, 0], {"image": image})["image"]
        batch = dict(prepare({**batch, "image": image}))
        if mixup or cutmix:
            target = batch["label"].astype(jnp.float32)
            if target.ndim == 1:  # else [B, K] already, of several labels
                target = jax.nn.one_hot(batch["label"], num_classes)  # [B, K]
            batch["image"], batch["target"] = mix.mixup_or_cutmix(
                draws[:, 1], batch["image"], target, mixup_alpha=mixup, cutmix_alpha=cutmix
            )
        return batch

    return augment_batch
