"""Augmentations that hide a part of the image: cutout and random erasing. (key, image) -> image."""

import jax
import jax.numpy as jnp

from cnn_jax.augment import geometry
from cnn_jax.typing import Array


def cutout(key: Array, image: Array, *, size: int, fill: float = 0.5) -> Array:
    """Hides a square (in N dimensions a cube) whose centre is uniform over the image.

    DeVries 2017 (arXiv 1708.04552, section 3: 16 pixels for CIFAR-10, 8 for CIFAR-100). Near the
    border a part of the square falls outside, on purpose.

    Args:
        image: [*space, C].
        size: the side, in pixels.
        fill: its value. The paper's 0 is that of normalised images, the mean of the data set; on
            the 0..1 scale mid-grey stands for it.
    """
    if size < 0:
        raise ValueError(f"cutout: size must be at least 0, got {size}")
    *space, _ = image.shape
    centre = jax.random.randint(key, (len(space),), 0, jnp.array(space))
    hidden = box_mask(space, centre - size // 2, jnp.full(len(space), size))
    return jnp.where(hidden[..., None], jnp.asarray(fill, image.dtype), image)


def random_erasing(
    key: Array,
    image: Array,
    *,
    probability: float = 0.25,
    scale: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = (0.3, 3.3),
    fill: float | None = None,
) -> Array:
    """Replaces a random rectangle that lies inside the image.

    Zhong 2020 (arXiv 1708.04896, section 3; random values were best); torchvision's defaults.

    Args:
        image: [*space, C].
        probability: that there is one at all.
        scale: bounds of its share of the area.
        ratio: bounds of its width over its height.
        fill: its value, or None for noise, uniform on 0..1.
    """
    choose, place, noise = jax.random.split(key, 3)
    *space, _ = image.shape
    start, length, _ = geometry.random_box(place, space, scale=scale, ratio=ratio)
    length = jnp.where(jax.random.bernoulli(choose, probability), length, 0)
    value: Array
    if fill is None:
        value = jax.random.uniform(noise, image.shape).astype(image.dtype)
    else:
        value = jnp.asarray(fill, image.dtype)
    return jnp.where(box_mask(space, start, length)[..., None], value, image)


def box_mask(space: list[int], start: Array, length: Array) -> Array:
    """Whether each pixel is inside a box, which may stick out of the image: bool [*space]."""
    inside = jnp.ones(space, bool)
    for axis in range(len(space)):
        position = jax.lax.broadcasted_iota(jnp.int32, space, axis)
        inside &= (position >= start[axis]) & (position < start[axis] + length[axis])
    return inside
