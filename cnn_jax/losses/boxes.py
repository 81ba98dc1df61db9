"""Losses of detectors, element by element: each network's paper says over what they are summed.

All take raw scores (logits) where they take scores, and compute in at least float32.
"""

import jax
import jax.numpy as jnp
import optax

from cnn_jax import boxes
from cnn_jax.losses.weighted import at_least_float32
from cnn_jax.typing import Array


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """-t log(p) - (1 - t) log(1 - p) with p = sigmoid(logits), for t in 0..1; any shape."""
    return optax.sigmoid_binary_cross_entropy(at_least_float32(logits), targets)


def sigmoid_focal(
    logits: Array, targets: Array, *, alpha: float = 0.25, gamma: float = 2.0
) -> Array:
    """alpha_t (1 - p_t)^gamma times the cross-entropy: what is easy hardly counts.

    Lin et al. 2017, arXiv:1708.02002, equation 5; alpha and gamma of section 4.1. `alpha` is the
    weight of the positives, 1 - alpha that of the negatives; below 0 both have weight 1.

    Args:
        logits: any shape.
        targets: 0 or 1, of the same shape.
    """
    weight = alpha if alpha >= 0 else None
    return optax.sigmoid_focal_loss(at_least_float32(logits), targets, alpha=weight, gamma=gamma)


def quality_focal(logits: Array, quality: Array, *, beta: float = 2.0) -> Array:
    """|quality - p|^beta times the cross-entropy with a soft target.

    The target of a positive is not 1 but how well its box fits (IoU), so that the score ranks boxes
    by both class and place. Li et al. 2020, arXiv:2006.04388, equation 5; beta of section 4.

    Args:
        logits: any shape.
        quality: 0..1, of the same shape; 0 for negatives. No gradient flows through it.
    """
    logits = at_least_float32(logits)
    quality = jax.lax.stop_gradient(quality)
    error = jnp.abs(quality - jax.nn.sigmoid(logits))
    return binary_cross_entropy(logits, quality) * error**beta


def smooth_l1(predicted: Array, wanted: Array, *, beta: float = 1.0) -> Array:
    """Half the squared error over beta, and the absolute error less beta / 2 beyond beta.

    Girshick 2015, arXiv:1504.08083, equation 3, where beta = 1. With beta = 0 the absolute error.
    """
    error = at_least_float32(predicted) - wanted
    # Optax's Huber loss is this times beta, and so nothing at 0.
    return optax.huber_loss(error, delta=beta) / beta if beta > 0 else jnp.abs(error)


def giou(predicted: Array, wanted: Array) -> Array:
    """1 - GIoU of boxes [..., 4] with their counterparts: in 0..2, [...].

    Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1; see `cnn_jax.boxes.giou`.
    """
    return 1 - boxes.giou(at_least_float32(predicted), wanted)
