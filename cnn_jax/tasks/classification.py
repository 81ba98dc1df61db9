"""Classification: one label for an image, a sequence or a volume."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import augment as augmentations
from cnn_jax import losses, metrics
from cnn_jax.augment import mix
from cnn_jax.tasks.prepare import make_prepare as make_prepare
from cnn_jax.typing import Array, Batch, Mean, Observed, Outputs, Task

# Weight of the auxiliary heads: GoogLeNet, arXiv:1409.4842 section 5, "weighted by 0.3".
AUXILIARY_WEIGHT = 0.3


def classification(num_classes: int, *, label_smoothing: float = 0.0) -> Task:
    """The task of predicting `batch['label']`, or the soft `batch['target']` if there is one.

    It reports `accuracy`, `top5` (for 6 classes or more), `loss`, and the number of `examples`.

    Args:
        num_classes: K, the width of the logits.
        label_smoothing: label smoothing in [0, 1), applied to the training loss only.

    Raises:
        ValueError: label_smoothing is outside [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; it must be in [0, 1).")

    def loss(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        target = batch.get("target", batch["label"])
        by_head = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        means = {}
        for head, logits in by_head.items():
            mean = losses.softmax_cross_entropy(
                logits, target, mask=batch["mask"], label_smoothing=label_smoothing
            )
            if head == "logits":
                means["cross_entropy"] = mean
            else:
                means[head] = Mean(AUXILIARY_WEIGHT * mean.total, mean.weight)
        return means

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        label, mask = batch["label"], batch["mask"]
        loss = losses.softmax_cross_entropy(logits, label, mask=mask)
        counts = {
            "correct": metrics.top_k_correct(logits, label, k=1, mask=mask),
            "correct_top5": metrics.top_k_correct(logits, label, k=5, mask=mask),
            "confusion": metrics.confusion_matrix(
                logits.argmax(-1), label, num_classes=num_classes, mask=mask
            ),
            "examples": (mask > 0).sum(dtype=jnp.int32),
            "loss": loss.total,
        }
        return Observed(sums=counts, rows={})

    def report(observed: Observed) -> dict[str, float]:
        sums = {name: np.asarray(value, np.float64) for name, value in observed.sums.items()}
        examples = sums["examples"]
        figures = {"accuracy": sums["correct"] / examples}
        if num_classes > 5:
            figures["top5"] = sums["correct_top5"] / examples
        figures["loss"] = sums["loss"] / examples
        return {name: float(value) for name, value in figures.items()}

    return Task(loss=loss, observe=observe, report=report)


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
            target = jax.nn.one_hot(batch["label"], num_classes)  # [B, K]
            batch["image"], batch["target"] = mix.mixup_or_cutmix(
                draws[:, 1], batch["image"], target, mixup_alpha=mixup, cutmix_alpha=cutmix
            )
        return batch

    return augment_batch
