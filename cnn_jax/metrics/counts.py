"""Counts that evaluation adds up over batches, devices and hosts."""

import jax.numpy as jnp

from cnn_jax import shapes
from cnn_jax.typing import Array


def top_k_correct(logits: Array, labels: Array, *, k: int, mask: Array) -> Array:
    """Number of examples whose label is among the k largest logits.

    Ties go to the lower index, as in argmax; a row with a NaN is never correct.

    Args:
        logits: [B, K].
        labels: [B] int.
        k: number of guesses.
        mask: [B], 1 for an example and 0 for padding.

    Returns:
        int32 scalar.

    Raises:
        ValueError: if a shape or type is not that above.
    """
    what = "top_k_correct takes logits [B, K], labels [B] (int) and mask [B]"
    with shapes.wanted(what, logits=logits, labels=labels, mask=mask) as chex:
        chex.assert_rank(logits, 2)
        chex.assert_shape([labels, mask], logits.shape[:1])
        chex.assert_type(labels, int)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [B, 1]
    first = jnp.arange(logits.shape[1]) < labels[:, None]  # [B, K]
    ahead = ((logits > own) | ((logits == own) & first)).sum(axis=1)  # [B]
    correct = (ahead < k) & ~jnp.isnan(logits).any(axis=1) & (mask > 0)
    return correct.sum(dtype=jnp.int32)


def confusion_matrix(predictions: Array, labels: Array, *, num_classes: int, mask: Array) -> Array:
    """Counts [K, K]: rows are the true classes, columns the predicted ones.

    >>> said, true = jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 1])
    >>> confusion_matrix(said, true, num_classes=2, mask=jnp.ones(4)).tolist()
    [[1, 1], [0, 2]]

    Args:
        predictions: int, any shape.
        labels: int, the same shape.
        num_classes: K.
        mask: the same shape. Where it is 0, or a label lies outside 0..K-1, nothing is counted.

    Returns:
        int32 [K, K].

    Raises:
        ValueError: if a shape or type is not that above.
    """
    what = "confusion_matrix takes predictions and labels (int) and a mask of one shape"
    with shapes.wanted(what, predictions=predictions, labels=labels, mask=mask) as chex:
        chex.assert_equal_shape([predictions, labels, mask])
        chex.assert_type([predictions, labels], int)
    counted = (mask > 0) & (labels >= 0) & (labels < num_classes)
    cell = jnp.where(counted, labels * num_classes + predictions, num_classes**2)
    counts = jnp.zeros(num_classes**2 + 1, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts[:-1].reshape(num_classes, num_classes)
