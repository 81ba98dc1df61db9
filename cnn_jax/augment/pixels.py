"""The values of pixels as networks take them: floats, normalised channel by channel."""

from collections.abc import Sequence

import jax.numpy as jnp

from cnn_jax.typing import Array


def to_unit(images: Array) -> Array:
    """Returns images as floats: integers 0..max become float32 0..1, floats pass unchanged."""
    if jnp.issubdtype(images.dtype, jnp.integer):
        return images.astype(jnp.float32) / jnp.iinfo(images.dtype).max
    return images


def normalise(images: Array, *, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Subtracts the mean and divides by the standard deviation, channel by channel.

    Args:
        images: [..., C]. Integers are first scaled to 0..1 (`to_unit`).
        mean: C numbers (or one for all channels), on the 0..1 scale.
        std: likewise; positive.

    Returns:
        [..., C], float32 for integers, else of the dtype that came.

    Raises:
        ValueError: if there are neither one nor C numbers, or a std is not positive.
    """
    channels = images.shape[-1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise ValueError(
                f"normalise: {name} has {len(values)} numbers for images of {channels} channels; "
                f"give {channels}, or one for all"
            )
    if min(std) <= 0:
        raise ValueError(f"normalise: std must be positive, got {tuple(std)}")
    images = to_unit(images)
    return (images - jnp.asarray(mean, images.dtype)) / jnp.asarray(std, images.dtype)
