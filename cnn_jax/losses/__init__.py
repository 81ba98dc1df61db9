"""Losses: sums and weights, divided only when the whole batch has been seen.

Those of whole networks, `softmax_cross_entropy`, `pixel_cross_entropy` and `dice`, return a `Mean`,
whose total and weight add up over microbatches, devices and hosts, so that a padded example, an
ignored pixel or a ragged batch never shifts the result. The others give a value for each element:
each detector's paper says over what they are summed. LOSSES holds those that a network can be
trained with by name, and takes a user's own.
"""

from cnn_jax.losses.boxes import (
    binary_cross_entropy,
    giou,
    quality_focal,
    sigmoid_focal,
    smooth_l1,
)
from cnn_jax.losses.classification import softmax_cross_entropy, target_of
from cnn_jax.losses.named import LOSSES, Loss, parse, to_text
from cnn_jax.losses.pixels import IGNORE, dice, pixel_cross_entropy, pixel_weights
from cnn_jax.losses.weighted import at_least_float32, weighted_mean

__all__ = [
    "IGNORE",
    "LOSSES",
    "Loss",
    "at_least_float32",
    "binary_cross_entropy",
    "dice",
    "giou",
    "parse",
    "pixel_cross_entropy",
    "pixel_weights",
    "quality_focal",
    "sigmoid_focal",
    "smooth_l1",
    "softmax_cross_entropy",
    "target_of",
    "to_text",
    "weighted_mean",
]


def __dir__() -> list[str]:
    return __all__
