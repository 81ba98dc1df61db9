"""The preparation of a batch that training, evaluation and prediction share."""

from collections.abc import Callable, Sequence

from cnn_jax import augment
from cnn_jax.typing import Batch


def make_prepare(mean: Sequence[float], std: Sequence[float]) -> Callable[[Batch], Batch]:
    """Builds the preparation: scaling and normalisation.

    Args:
        mean: mean of each channel, on the scale of 0..1.
        std: standard deviation of each channel, on the scale of 0..1.

    Returns:
        batch -> batch, whose `image` is float32 [B, *space, C]. uint8 is first divided by 255.
    """

    def prepare(batch: Batch) -> Batch:
        return {**batch, "image": augment.normalise(batch["image"], mean=mean, std=std)}

    return prepare
