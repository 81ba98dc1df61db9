"""Segmentation: a class for every pixel."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import augment as augmentations
from cnn_jax import losses, metrics
from cnn_jax.losses import named
from cnn_jax.metrics import central
from cnn_jax.tasks.prepare import make_prepare as make_prepare
from cnn_jax.typing import Array, Batch, Mean, Observed, Outputs, Task

BEST = "mean_iou"  # metric by which the best checkpoint is kept

# Weight of the auxiliary heads: torchvision's references/segmentation/train.py.
AUXILIARY_WEIGHT = 0.5


def segmentation(
    class_names: Sequence[str],
    *,
    loss: str | Mapping[str, float] = "cross_entropy",
    class_weights: Sequence[float] | np.ndarray | None = None,
) -> Task:
    """The task of predicting `batch['label']` [B, *space], in which IGNORE does not count.

    It reports, over all pixels of the set: `mean_iou`, the mean intersection over union of the
    classes that occur in the truth or the predictions; `pixel_accuracy`; `mean_accuracy`, the mean
    recall of the classes in the truth; `loss`, the cross-entropy; and `iou/<class>` for each class
    that has one.

    Logits that are smaller than the labels, as those of a U-Net without padding, are those of the
    middle of the image.

    Args:
        class_names: K names.
        loss: training losses of `cnn_jax.losses.LOSSES` with their weights, see
            `cnn_jax.losses.parse`.
        class_weights: K weights of the pixels by their class in training, see
            `cnn_jax.data.median_frequency_weights`; None for ones. Dice and Jaccard
            count every class alike and look only at weights of 0.

    Raises:
        ValueError: an unknown loss, one that returns something else than a Mean, or not K weights.
    """
    classes = len(class_names)
    if class_weights is not None and len(class_weights) != classes:
        raise ValueError(f"{len(class_weights)} class weights for {classes} classes: give as many.")
    weights = None if class_weights is None else np.asarray(class_weights, np.float32)
    factors = losses.parse(loss)
    for name in factors:
        named.check(name, space=(4, 4), num_classes=classes)

    def training_loss(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        by_head = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        means = {}
        for head, logits in by_head.items():
            labels = central(batch["label"], logits)
            counts = losses.pixel_weights(
                labels, classes, mask=batch["mask"], class_weights=weights
            )
            share = 1.0 if head == "logits" else AUXILIARY_WEIGHT
            prefix = "" if head == "logits" else f"{head}_"
            for name, factor in factors.items():
                total, weight = named.apply(name, logits, labels, counts)
                means[f"{prefix}{name}"] = Mean(share * factor * total, weight)
        return means

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        labels = central(batch["label"], logits)
        mask = jnp.broadcast_to(_expand(batch["mask"], labels), labels.shape)
        entropy = losses.pixel_cross_entropy(logits, labels, mask=batch["mask"])
        counts = {
            "confusion": metrics.confusion_matrix(
                logits.argmax(-1), labels.astype(jnp.int32), num_classes=classes, mask=mask
            ),
            "examples": (batch["mask"] > 0).sum(dtype=jnp.int32),
            "loss": entropy.total,
            "pixels": entropy.weight,
        }
        return Observed(sums=counts, rows={})

    def report(observed: Observed) -> dict[str, float]:
        figures = summary(np.asarray(observed.sums["confusion"]), class_names)
        pixels = float(observed.sums["pixels"])
        mean_loss = float(observed.sums["loss"]) / pixels if pixels else float("nan")
        overall = {name: value for name, value in figures.items() if "/" not in name}
        known = {name: value for name, value in figures.items() if not np.isnan(value)}
        return {**overall, "loss": mean_loss, **known}

    return Task(loss=training_loss, observe=observe, report=report)


def example_rows(outputs: Outputs, batch: Batch) -> dict[str, Array]:
    """`pixels` int32 [B, K, 3] of each image: true, predicted, and both, of each class."""
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
    labels = central(batch["label"], logits).astype(jnp.int32)
    classes, predicted = logits.shape[-1], logits.argmax(-1)
    counted = (labels < classes) & (_expand(batch["mask"], labels) > 0)

    def of_image(label: Array, said: Array, counts: Array) -> Array:
        label, said = (jnp.where(counts, each, classes) for each in (label, said))
        both = jnp.where(label == said, label, classes)
        counted = [jnp.bincount(x.ravel(), length=classes + 1) for x in (label, said, both)]
        return jnp.stack(counted, -1)[:-1]

    return {"pixels": jax.vmap(of_image)(labels, predicted, counted)}


def summary(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """The metrics of a confusion matrix, on the host.

    Args:
        confusion: [K, K] counts of pixels; rows are the truth, columns the prediction.
        class_names: K names.

    Returns:
        `mean_iou`, `pixel_accuracy`, `mean_accuracy`, and `iou/<class>` of each class. A class that
        neither occurs nor is predicted has the IoU nan and does not count in the mean; one that is
        predicted but does not occur has 0. Without pixels all are nan.
    """
    confusion = np.asarray(confusion, np.float64)
    found = np.diag(confusion)
    truth, predicted = confusion.sum(1), confusion.sum(0)
    union = truth + predicted - found
    iou = np.divide(found, union, out=np.full(len(found), np.nan), where=union > 0)
    recall = np.divide(found, truth, out=np.full(len(found), np.nan), where=truth > 0)
    total = confusion.sum()
    return {
        "mean_iou": _mean(iou),
        "pixel_accuracy": float(found.sum() / total) if total else float("nan"),
        "mean_accuracy": _mean(recall),
        **{f"iou/{name}": float(value) for name, value in zip(class_names, iou, strict=True)},
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _expand(mask: Array, labels: Array) -> Array:
    return mask.reshape(-1, *(1,) * (labels.ndim - 1))


def make_augment(
    prepare: Callable[[Batch], Batch], *, augment: str = ""
) -> Callable[[Array, Batch], Batch]:
    """Builds the random augmentation of training batches, on the device.

    Args:
        prepare: applied after the augmentation: `make_prepare(...)`.
        augment: a list such as 'flip,affine:10:0.1:0.8:1.2', see `cnn_jax.augment.parse`.

    Returns:
        (keys [B], batch) -> batch.
    """
    each = augmentations.parse(augment, holds="mask")

    def augment_batch(keys: Array, batch: Batch) -> Batch:
        image = augmentations.to_unit(batch["image"])
        # in a batch 'mask' tells examples from padding, and 'label' is the class of each pixel
        moved = augmentations.apply(each, keys, {"image": image, "mask": batch["label"]})
        return prepare({**batch, "image": moved["image"], "label": moved["mask"]})

    return augment_batch
