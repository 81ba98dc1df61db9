"""The loss of a classifier: one label, or a distribution over the classes, for each example."""

import jax
import jax.numpy as jnp
import optax

from cnn_jax.typing import Array, Mean


def softmax_cross_entropy(
    logits: Array, labels: Array, *, mask: Array, label_smoothing: float = 0.0
) -> Mean:
    """Cross-entropy of softmax(logits) with hard or soft labels.

    Args:
        logits: [B, K], any float type; the arithmetic is at least float32.
        labels: [B] int class indices, or [B, K] probabilities (mixup, cutmix, distillation).
        mask: [B], 1 for an example and 0 for padding.
        label_smoothing: in [0, 1): the target becomes (1 - s) * target + s / K
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    Returns:
        Mean of the cross-entropy in nats; weight is the number of examples.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if logits.ndim != 2 or labels.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(
            f"softmax_cross_entropy got logits {logits.shape} and labels {labels.shape}; "
            "it wants [B, K] and [B] or [B, K]."
        )
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)  # [B, K]
    labels = optax.smooth_labels(labels.astype(logits.dtype), label_smoothing)
    losses = optax.softmax_cross_entropy(logits, labels)  # [B]
    mask = mask.astype(losses.dtype)
    # where, not a product: the padding may hold anything, and 0 * inf is not 0
    return Mean(total=jnp.where(mask > 0, losses * mask, 0).sum(), weight=mask.sum())
