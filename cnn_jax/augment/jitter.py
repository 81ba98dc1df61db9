"""Augmentations of colour and focus: jitter, grey, blur. (key, image [H, W, C]) -> image."""

import math

import jax
import jax.numpy as jnp

from cnn_jax.augment import colour
from cnn_jax.typing import Array


def colour_jitter(
    key: Array,
    image: Array,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Array:
    """Changes brightness, contrast and saturation in random order, then the hue.

    The hue comes last always, where torchvision gives it a random place too: under vmap a random
    place would cost four conversions to HSV instead of one.

    Args:
        image: [H, W, C], 1 or 3 channels; saturation and hue leave one channel as it is.
        brightness: the factor is uniform on max(0, 1 - brightness)..1 + brightness.
        contrast: likewise.
        saturation: likewise.
        hue: the shift is uniform on -hue..hue turns; at most 0.5.

    Raises:
        ValueError: for a negative strength, a hue above 0.5, or other numbers of channels.
    """
    strengths = (brightness, contrast, saturation)
    if min(*strengths, hue) < 0 or hue > 0.5:
        raise ValueError(
            "colour_jitter: strengths must be at least 0 and hue at most 0.5, got "
            f"brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}"
        )
    order_key, factor_key, hue_key = jax.random.split(key, 3)
    strength = jnp.asarray(strengths)
    factors = jax.random.uniform(
        factor_key, (3,), minval=jnp.maximum(0, 1 - strength), maxval=1 + strength
    )
    active = [i for i, s in enumerate(strengths) if s > 0]
    order = jax.random.permutation(order_key, jnp.array(active, jnp.int32))
    for i in range(len(active)):
        operation = order[i]
        factor = factors[operation]
        image = colour.blend(
            image,
            own=factor,
            mean=jnp.where(operation == 1, 1 - factor, 0),
            grey=jnp.where(operation == 2, 1 - factor, 0),
        )
    if hue > 0:
        shift = jax.random.uniform(hue_key, minval=-hue, maxval=hue)
        image = colour.adjust_hue(image, shift)
    return image


def random_grayscale(key: Array, image: Array, *, probability: float = 0.2) -> Array:
    """Removes the colour, keeping the channels (Chen 2020, arXiv 2002.05709, appendix A)."""
    return jnp.where(jax.random.bernoulli(key, probability), colour.grayscale(image), image)


def random_blur(
    key: Array,
    image: Array,
    *,
    sigma: tuple[float, float] = (0.1, 2.0),
    probability: float = 0.5,
) -> Array:
    """Blurs with a Gaussian of random width, in pixels.

    Chen 2020 (arXiv 2002.05709, appendix A: sigma 0.1 to 2 at 224 pixels).
    """
    width_key, choose_key = jax.random.split(key)
    width = jax.random.uniform(width_key, minval=sigma[0], maxval=sigma[1])
    radius = min(math.ceil(3 * sigma[1]), min(image.shape[:-1]) - 1)
    blurred = colour.gaussian_blur(image, width, radius=radius)
    return jnp.where(jax.random.bernoulli(choose_key, probability), blurred, image)
