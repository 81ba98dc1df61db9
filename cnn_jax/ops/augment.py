"""Random augmentations, on the device: pure functions (key, image) -> image of one example.

Every function here takes one key and one image [*space, C], floats in 0..1, and returns an image
of a static shape, so that it can be jitted, differentiated, and mapped over a batch:

    augment = compose(horizontal_flip, partial(pad_and_crop, padding=4))
    images = apply(augment, keys, images)      # keys [B], images [B, *space, C]

One key per *example* is what makes the result independent of the batch: the same example under the
same key comes out the same in a batch of 1 or of 1000, on one device or on 64.

The random policies built on these are in auto_augment.py, the `--augment` language in
augment_spec.py, and what mixes two examples in mix.py.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array

Augmentation = Callable[[Array, Array], Array]  # (key, image [*space, C]) -> image


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


def compose(*augmentations: Augmentation) -> Augmentation:
    """Returns the augmentation that applies these in order, each under a key of its own."""
    if len(augmentations) == 1:
        return augmentations[0]

    def composed(key: Array, image: Array) -> Array:
        for i, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, i), image)
        return image

    return composed


def apply(augmentation: Augmentation, keys: Array, images: Array) -> Array:
    """Augments a batch: keys [B], images [B, *space, C] -> [B, *space', C]."""
    return jax.vmap(augmentation)(keys, images)


def horizontal_flip(key: Array, image: Array, *, probability: float = 0.5) -> Array:
    """Mirrors left and right, with this probability.

    Args:
        image: [*space, C]. The last spatial axis is the one that is reversed: the width of a
            picture, the time of a sequence.
    """
    flip = jax.random.bernoulli(key, probability)
    return jnp.where(flip, jnp.flip(image, axis=-2), image)


def vertical_flip(key: Array, image: Array, *, probability: float = 0.5) -> Array:
    """Mirrors top and bottom (the first spatial axis), with this probability."""
    flip = jax.random.bernoulli(key, probability)
    return jnp.where(flip, jnp.flip(image, axis=0), image)


def pad_and_crop(
    key: Array,
    image: Array,
    *,
    padding: int,
    mode: Literal["reflect", "constant"] = "reflect",
) -> Array:
    """Shifts by up to `padding` pixels along every axis: pads each side, then crops back.

    The augmentation of CIFAR (He 2016, arXiv 1512.03385, section 4.2: 4 pixels of zeros).

    Args:
        image: [*space, C], any number of spatial axes.
        padding: pixels added on each side; the shift is uniform on -padding..padding.
        mode: 'reflect' mirrors the image about its edge pixels, 'constant' fills with zeros.

    Raises:
        ValueError: for an unknown mode, a negative padding, or a reflection wider than the image.
    """
    *space, _ = image.shape
    if mode not in ("reflect", "constant"):
        raise ValueError(f"pad_and_crop: mode must be 'reflect' or 'constant', got {mode!r}")
    if padding < 0 or (mode == "reflect" and padding >= min(space)):
        raise ValueError(
            f"pad_and_crop: padding {padding} does not suit an image of {tuple(space)}; "
            "it must be at least 0 and, to reflect, less than every side"
        )
    # Gathering rows, then columns, is what pad and slice would give, without the padded copy.
    shifts = jax.random.randint(key, (len(space),), -padding, padding + 1)
    for axis, size in enumerate(space):
        source = shifts[axis] + jnp.arange(size)
        if mode == "reflect":
            source = (size - 1) - jnp.abs((size - 1) - jnp.abs(source))
            image = jnp.take(image, source, axis=axis, mode="clip")
        else:
            image = jnp.take(image, source, axis=axis, mode="fill", fill_value=0)
            # `fill` reads a negative index from the end, as numpy does: mask those.
            inside = (source >= 0).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
            image = jnp.where(inside, image, 0)
    return image
