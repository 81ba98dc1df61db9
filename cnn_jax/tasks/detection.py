"""Detection: a box and a class for every object."""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from cnn_jax import augment as augmentations
from cnn_jax.metrics import average_precision
from cnn_jax.tasks.prepare import make_prepare as make_prepare
from cnn_jax.typing import Array, Batch, Detector, Mean, Observed, Outputs, Targets, Task

BEST = "ap"  # metric by which the best checkpoint is kept


def detection(class_names: Sequence[str], detector: Detector, *, size: tuple[int, int]) -> Task:
    """The task of finding `batch['boxes']` with their `batch['labels']`.

    It reports COCO's metrics: `ap`, average precision, the mean over classes and the IoU thresholds
    0.5, 0.55 ... 0.95; `ap50` and `ap75` at one threshold; `ap_small`, `ap_medium`, `ap_large` (nan
    without such an object); `recall100`; and `ap/<class>`.

    Args:
        class_names: K names.
        detector: the network, with its losses and its conversion of outputs to boxes.
        size: (height, width) of the frames.
    """

    def loss(outputs: Outputs, batch: Batch) -> dict[str, Mean]:
        return dict(detector.losses(outputs, training_targets(batch), batch["mask"]))

    def observe(outputs: Outputs, batch: Batch) -> Observed:
        found = detector.detect(outputs, size)
        # back to the pixels of the image, whose border may lie inside the frame
        border = jnp.tile(batch["extent"][:, ::-1], 2)[:, None]  # [B, 1, 4]
        factor = jnp.tile(batch["factor"], 2)[:, None]
        factor = jnp.where(factor > 0, factor, 1)
        boxes = jnp.clip(found.boxes, 0, border) / factor
        real = batch["mask"][:, None] > 0
        found_rows = [boxes, found.scores[..., None], jnp.where(real, found.labels, -1)[..., None]]
        true_rows = [
            batch["boxes"] / factor,
            batch["crowd"][..., None],
            jnp.where(real, batch["labels"], -1)[..., None],
        ]
        return Observed(
            sums={"examples": (batch["mask"] > 0).sum(dtype=jnp.int32)},
            rows={
                "detections": jnp.concatenate(found_rows, -1),  # [B, M, 6]
                "truth": jnp.concatenate(true_rows, -1),  # [B, N, 6]
            },
        )

    def report(observed: Observed) -> dict[str, float]:
        return average_precision.evaluate(
            observed.rows["detections"], observed.rows["truth"], class_names
        )

    if getattr(detector, "wants_targets", False):
        return Task(loss, observe, report, lambda batch: {"targets": training_targets(batch)})
    return Task(loss, observe, report)


def training_targets(batch: Batch) -> Targets:
    """The objects to find, without crowds, invalid boxes and padded examples."""
    boxes = batch["boxes"]
    chex.assert_shape(boxes, (*batch["mask"].shape, None, 4))
    chex.assert_equal_shape((batch["labels"], batch["crowd"], boxes[..., 0]))
    usable = (batch["mask"][:, None] > 0) & (batch["crowd"] == 0) & (batch["labels"] >= 0)
    usable &= jnp.isfinite(boxes).all(-1) & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    return Targets(
        boxes=jnp.where(usable[..., None], boxes, 0),  # a NaN would reach the gradient
        labels=jnp.where(usable, batch["labels"], -1).astype(jnp.int32),
    )


def make_augment(
    prepare: Callable[[Batch], Batch], *, augment: str = "", mosaic: float = 0.0
) -> Callable[[Array, Batch], Batch]:
    """Builds the random augmentation of training batches, on the device.

    Args:
        prepare: applied after the augmentation: `make_prepare(...)`.
        augment: a list such as 'flip,affine:0.1:0.8:1.25', see `cnn_jax.augment.parse`.
        mosaic: share of images composed of four others.

    Returns:
        (keys [B], batch) -> batch.
    """
    each = augmentations.parse(augment, holds="boxes")

    def augment_batch(keys: Array, batch: Batch) -> Batch:
        batch = {**batch, "image": augmentations.to_unit(batch["image"])}
        # a crowd loses its place in a mosaic, so it is left out before
        batch["labels"] = jnp.where(batch["crowd"] > 0, -1, batch["labels"])
        batch["crowd"] = jnp.zeros_like(batch["crowd"])
        if mosaic:
            draws = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)
            batch = augmentations.mosaic(draws, batch, probability=mosaic)
        draws = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        moved = {name: batch[name] for name in ("image", "boxes", "labels")}
        return prepare({**batch, **augmentations.apply(each, draws, moved)})

    return augment_batch
