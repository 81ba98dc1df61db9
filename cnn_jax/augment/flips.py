"""Mirroring by turns: an image that is flipped in one epoch is not in the next."""

import jax.numpy as jnp

from cnn_jax.typing import Array


def alternating(images: Array, first: Array, epoch: Array | int) -> Array:
    """Mirrors images left to right in every other epoch of theirs.

    Random flips show about half of the images the same way twice in a row. By turns, two epochs
    show each image both ways (Jordan 2024, arXiv:2404.00498, section 3.6).

    Args:
        images: [B, H, W, C].
        first: bool [B], drawn once for each image of the set: whether it is mirrored in epochs 0,
            2, 4...; otherwise it is in 1, 3, 5...
        epoch: number of the epoch, or one for each image [B].
    """
    mirrored = jnp.asarray(first) ^ (jnp.asarray(epoch) % 2 == 1)
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
