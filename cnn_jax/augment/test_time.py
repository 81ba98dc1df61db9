"""Test-time augmentation: the logits of several views of an image, averaged."""

from collections.abc import Callable

import jax.numpy as jnp

from cnn_jax.typing import Array


def mirrored(logits: Callable[[Array], Array], images: Array) -> Array:
    """The mean of the logits for images [B, H, W, C] and for their mirror images."""
    return (logits(images) + logits(images[:, :, ::-1])) / 2


def mirrored_and_shifted(
    logits: Callable[[Array], Array], images: Array, *, pixels: int = 1
) -> Array:
    """Six views: as they are, and moved both ways along the diagonal; each also mirrored.

    The images in their place have half of the weight, those moved up and left and those moved down
    and right a quarter each. What comes into view is reflected at the border. (Jordan 2024,
    arXiv:2404.00498, section 3.5: "multi-crop".)

    Args:
        logits: images [B, H, W, C] -> [B, K].
        images: [B, H, W, C].
        pixels: how far the images are moved.

    Raises:
        ValueError: fewer than one pixel, or as many as a side has.
    """
    height, width = images.shape[1:3]
    if not 1 <= pixels < min(height, width):
        raise ValueError(
            f"pixels={pixels}: wanted at least 1, and fewer than a side's {min(height, width)}."
        )
    around = [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)]
    padded = jnp.pad(images, around, mode="reflect")
    corners = (padded[:, :height, :width], padded[:, 2 * pixels :, 2 * pixels :])
    moved = sum(mirrored(logits, corner) for corner in corners) / 2
    return (mirrored(logits, images) + moved) / 2
