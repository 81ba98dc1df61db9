"""Losses: sums and weights, divided only when the whole batch has been seen.

Those of whole networks, `softmax_cross_entropy`, `pixel_cross_entropy` and `dice`, return a `Mean`,
whose total and weight add up over microbatches, devices and hosts, so that a padded example, an
ignored pixel or a ragged batch never shifts the result. The others give a value for each element:
each detector's paper says over what they are summed.
"""

from cnn_jax.losses.boxes import (
    binary_cross_entropy,
    giou,
    quality_focal,
    sigmoid_focal,
    smooth_l1,
)
from cnn_jax.losses.classification import softmax_cross_entropy
from cnn_jax.losses.pixels import IGNORE, dice, pixel_cross_entropy

__all__ = [
    "IGNORE",
    "binary_cross_entropy",
    "dice",
    "giou",
    "pixel_cross_entropy",
    "quality_focal",
    "sigmoid_focal",
    "smooth_l1",
    "softmax_cross_entropy",
]


def __dir__() -> list[str]:
    return __all__
