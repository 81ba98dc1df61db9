"""Losses of segmentation: a class for every pixel.

Labels are integers; IGNORE marks pixels that do not count.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.typing import Array, Mean

IGNORE = 255


def pixel_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    mask: Array,
    class_weights: Array | np.ndarray | None = None,
) -> Mean:
    """Cross-entropy of softmax(logits) at every pixel.

    Args:
        logits: [B, *space, K], any float type; the arithmetic is at least float32.
        labels: [B, *space] int; IGNORE, and any other outside 0..K-1, does not count.
        mask: [B], 1 for an example and 0 for padding.
        class_weights: [K], or None for ones. A pixel counts as the weight of its class, above and
            below the fraction bar.

    Returns:
        Mean in nats; weight is the sum of the weights of the pixels that count.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_pixels("pixel_cross_entropy", logits, labels)
    classes = logits.shape[-1]
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    counted = _counted(labels, classes, mask)  # [B, *space]
    labels = jnp.where(counted, labels, 0).astype(jnp.int32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    weights = jnp.ones(classes) if class_weights is None else jnp.asarray(class_weights)
    weights = jnp.where(counted, jnp.take(weights, labels), 0).astype(losses.dtype)
    # where, not a product: the padding may hold anything, and 0 * inf is not 0
    return Mean(total=jnp.where(weights > 0, losses * weights, 0).sum(), weight=weights.sum())


def dice(logits: Array, labels: Array, *, mask: Array) -> Mean:
    """One minus the soft Dice coefficient, for each picture averaged over the classes it holds.

    2 sum(p t) / (sum p^2 + sum t^2) with p = softmax(logits) and t the one-hot truth (Milletari et
    al. 2016, arXiv:1606.04797, section 3). Of classes that a picture lacks there is nothing to
    overlap with: they are left out, and their probability counts where it displaces another's.
    (Optax's Dice losses have no squares in the denominator, count absent classes, and no pixel can
    be left out of them.)

    Args:
        logits: [B, *space, K].
        labels: [B, *space] int, as in `pixel_cross_entropy`.
        mask: [B], 1 for an example and 0 for padding.

    Returns:
        Mean, whose weight is the number of pictures with a pixel that counts.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_pixels("dice", logits, labels)
    batch, classes = logits.shape[0], logits.shape[-1]
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    counted = _counted(labels, classes, mask)[..., None]  # [B, *space, 1]
    predicted = jnp.where(counted, jax.nn.softmax(jnp.where(counted, logits, 0)), 0)
    truth = jnp.where(counted, jax.nn.one_hot(labels, classes, dtype=predicted.dtype), 0)
    predicted, truth = (x.reshape(batch, -1, classes) for x in (predicted, truth))
    size = truth.sum(1)  # [B, K]; also the sum of squares
    overlap = 2 * (predicted * truth).sum(1)
    present = size > 0
    score = jnp.where(present, overlap / jnp.where(present, (predicted**2).sum(1) + size, 1), 0)
    held = present.sum(1)  # [B]
    losses = 1 - score.sum(1) / jnp.maximum(held, 1)
    whole = (held > 0).astype(losses.dtype)
    return Mean(total=(losses * whole).sum(), weight=whole.sum())


def _check_pixels(name: str, logits: Array, labels: Array) -> None:
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"{name} got logits {logits.shape} and labels {labels.shape}; "
            "it wants [B, *space, K] and [B, *space]."
        )


def _counted(labels: Array, classes: int, mask: Array) -> Array:
    """bool [B, *space]: which pixels count."""
    mask = mask.reshape(-1, *(1,) * (labels.ndim - 1))
    return (labels != IGNORE) & (labels >= 0) & (labels < classes) & (mask > 0)
