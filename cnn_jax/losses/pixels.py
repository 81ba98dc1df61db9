"""Losses of segmentation: a class for every pixel.

Labels are integers; IGNORE marks pixels that do not count.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.losses.weighted import at_least_float32, weighted_mean
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
    weight = pixel_weights(labels, logits.shape[-1], mask=mask, class_weights=class_weights)
    return cross_entropy_of_labels(logits, labels, weight)


def pixel_weights(
    labels: Array,
    num_classes: int,
    *,
    mask: Array,
    class_weights: Array | np.ndarray | None = None,
) -> Array:
    """How much every pixel counts: [B, *space] float32, 0 for IGNORE and padding.

    Args:
        labels: [B, *space] int; IGNORE, and any other outside 0..K-1, does not count.
        num_classes: K.
        mask: [B], 1 for an example and 0 for padding.
        class_weights: [K], or None for ones: a pixel counts as the weight of its class.
    """
    mask = mask.reshape(-1, *(1,) * (labels.ndim - 1))
    counted = (labels != IGNORE) & (labels >= 0) & (labels < num_classes) & (mask > 0)
    weights = jnp.ones(num_classes) if class_weights is None else jnp.asarray(class_weights)
    labels = jnp.where(counted, labels, 0).astype(jnp.int32)
    return jnp.where(counted, jnp.take(weights, labels, mode="clip"), 0)


def cross_entropy_of_labels(logits: Array, labels: Array, weight: Array) -> Mean:
    """Cross-entropy in nats of softmax(logits [B, *space, K]) with labels [B, *space].

    Args:
        logits: any float type; the arithmetic is at least float32.
        labels: int. Where the weight is 0 they may be anything.
        weight: [B, *space], see `pixel_weights`.
    """
    # Labels may come out of a warp that the compiler computes twice, for the weight and for the
    # index, rounded otherwise at the edge of a pixel: an index outside 0..K-1 would be a NaN.
    # A label of a whole image is never warped, and a wrong one stays a NaN.
    labels = jnp.where(weight > 0, labels, 0).astype(jnp.int32)
    labels = labels.clip(0, logits.shape[-1] - 1) if labels.ndim > 1 else labels
    values = optax.softmax_cross_entropy_with_integer_labels(at_least_float32(logits), labels)
    return weighted_mean(values, weight)


def dice(logits: Array, labels: Array, *, mask: Array) -> Mean:
    """One minus the soft Dice coefficient, see `overlap_loss`.

    Args:
        logits: [B, *space, K].
        labels: [B, *space] int, as in `pixel_cross_entropy`.
        mask: [B], 1 for an example and 0 for padding.

    Returns:
        Mean, whose weight is the number of images with a pixel that counts.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    _check_pixels("dice", logits, labels)
    logits = at_least_float32(logits)
    target = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return overlap_loss(logits, target, pixel_weights(labels, logits.shape[-1], mask=mask))


def overlap_loss(logits: Array, target: Array, weight: Array, *, jaccard: bool = False) -> Mean:
    """One minus the soft overlap of each image, averaged over the classes it holds.

    Dice: 2 sum(p t) / (sum p^2 + sum t^2) with p = softmax(logits) and t the truth (Milletari et
    al. 2016, arXiv:1606.04797, section 3). Jaccard: sum(p t) / (sum p^2 + sum t^2 - sum(p t)), the
    Tanimoto coefficient of Diakogiannis et al. 2020, arXiv:1904.00592, which for hard predictions
    is intersection over union. Of classes that an image lacks there is nothing to overlap with:
    they are left out, and their probability counts where it displaces another's. (Optax's Dice
    losses have no squares in the denominator, count absent classes, and no pixel can be left out
    of them.)

    Args:
        logits: [B, *space, K], with one axis of space at least.
        target: [B, *space, K], one-hot.
        weight: [B, *space]; a pixel counts where it is above 0, however much.
        jaccard: the Jaccard loss instead of the Dice loss.

    Returns:
        Mean, whose weight is the number of images with a pixel that counts.

    Raises:
        ValueError: the logits have no axis of space.
    """
    if logits.ndim < 3:
        raise ValueError(
            f"it measures the overlap of regions and wants logits [B, *space, K], not "
            f"{list(logits.shape)}; choose a loss for labels of whole images."
        )
    batch, classes = logits.shape[0], logits.shape[-1]
    logits = at_least_float32(logits)
    counted = (weight > 0)[..., None]  # [B, *space, 1]
    predicted = jnp.where(counted, jax.nn.softmax(jnp.where(counted, logits, 0)), 0)
    truth = jnp.where(counted, target.astype(predicted.dtype), 0)
    predicted, truth = (x.reshape(batch, -1, classes) for x in (predicted, truth))
    size = truth.sum(1)  # [B, K]; also the sum of squares
    overlap = (predicted * truth).sum(1)
    sizes = (predicted**2).sum(1) + size
    above, below = (overlap, sizes - overlap) if jaccard else (2 * overlap, sizes)
    present = size > 0
    score = jnp.where(present, above / jnp.where(present, below, 1), 0)
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
