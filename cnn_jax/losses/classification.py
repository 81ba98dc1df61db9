"""The loss of a classifier: one label, or a distribution over the classes, for each example."""

import jax
import optax

from cnn_jax.losses.weighted import at_least_float32, weighted_mean
from cnn_jax.typing import Array, Mean


def softmax_cross_entropy(
    logits: Array, labels: Array, *, mask: Array, label_smoothing: float = 0.0
) -> Mean:
    """Cross-entropy of softmax(logits) with hard or soft labels.

    Args:
        logits: [B, K], any float type; the arithmetic is at least float32.
        labels: [B] int class indices, or [B, K] probabilities (mixup, cutmix, distillation).
        mask: [B], 1 for an example and 0 for padding.
        label_smoothing: see `target_of`.

    Returns:
        Mean of the cross-entropy in nats; weight is the number of examples.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    logits = at_least_float32(logits)
    target = target_of(logits, labels, label_smoothing=label_smoothing)
    return weighted_mean(optax.softmax_cross_entropy(logits, target), mask)


def target_of(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """The probability [B, K] of each class that logits [B, K] are to predict.

    Args:
        logits: [B, K], whose dtype the target has.
        labels: [B] int class indices, or [B, K] probabilities.
        label_smoothing: in [0, 1): the target becomes (1 - s) * target + s / K
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if logits.ndim != 2 or labels.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(
            f"A classifier's loss got logits {logits.shape} and labels {labels.shape}; it wants "
            "[B, K] and [B] or [B, K]."
        )
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)  # [B, K]
    return optax.smooth_labels(labels.astype(logits.dtype), label_smoothing)
