"""Random augmentations, on the device: pure functions (key, image) -> image of one example.

Every function here takes one key and one image [*space, C], floats in 0..1, and returns an image
of a static shape, so that it can be jitted, differentiated, and mapped over a batch:

    augment = compose(horizontal_flip, partial(pad_and_crop, padding=4))
    images = apply(augment, keys, images)      # keys [B], images [B, *space, C]

One key per *example* is what makes the result independent of the batch: the same example under the
same key comes out the same in a batch of 1 or of 1000, on one device or on 64.

This file holds what makes them compose, and the changes of place: flips, crops, affine maps.
Changes of colour are in jitter.py, hidden parts in erase.py, the policies that choose among them
in auto_augment.py, the language of `augment` in spec.py, and what mixes two examples in mix.py.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax.augment import geometry
from cnn_jax.typing import Array

Augmentation = Callable[[Array, Array], Array]  # (key, image [*space, C]) -> image
Padding = Literal["reflect", "constant"]


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
    mode: Padding = "reflect",
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


def random_resized_crop(
    key: Array,
    image: Array,
    *,
    size: int | Sequence[int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Array:
    """Cuts out a box of random size and aspect ratio and resamples it to `size`.

    Szegedy 2015 (arXiv 1409.4842, section 6), with torchvision's defaults and rejection: if no box
    of ten fits, the largest central one within the bounds of the ratio is taken.

    Args:
        image: [*space, C].
        size: the sides to return, or one number for all of them.
        scale: bounds of the share of the area.
        ratio: bounds of width over height; in one or three dimensions the box keeps the
            proportions of the image, and this is not used.

    Returns:
        [*size, C].

    Raises:
        ValueError: if the bounds are not in order or not positive, or the scale exceeds 1.
    """
    *space, _ = image.shape
    for name, (low, high), limit in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
        if not 0 < low <= high <= limit:
            raise ValueError(
                f"random_resized_crop: {name} must be (low, high) with 0 < low <= high"
                f"{' <= 1' if name == 'scale' else ''}, got {(low, high)}"
            )
    size = (size,) * len(space) if isinstance(size, int) else tuple(size)
    start, length, found = geometry.random_box(key, space, scale=scale, ratio=ratio)
    central = list(space)
    if len(space) == 2:
        height, width = space
        aspect = min(max(width / height, ratio[0]), ratio[1])
        central = [min(height, round(width / aspect)), min(width, round(height * aspect))]
    margin = [(side - kept) // 2 for side, kept in zip(space, central, strict=True)]
    start = jnp.where(found, start, jnp.array(margin))
    length = jnp.where(found, length, jnp.array(central))
    return geometry.crop_and_resize(image, start, length, size)


def random_affine(
    key: Array,
    image: Array,
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float = 0.0,
    interpolation: geometry.Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> Array:
    """Rotates, shears, scales and moves a picture, resampling it once.

    Args:
        image: [H, W, C].
        degrees: the rotation is uniform on -degrees..degrees.
        translate: the largest shift along each axis, as a share of the side.
        scale: bounds of the enlargement, log-uniform.
        shear: the largest horizontal and vertical shear, in degrees.
        interpolation: 'bilinear' or 'nearest'.
        fill: what comes in from outside.
    """
    if image.ndim != 3:
        raise ValueError(f"random_affine: wanted a picture [H, W, C], got shape {image.shape}")
    height, width, _ = image.shape
    signed = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
    slope = jnp.tan(jnp.deg2rad(shear * signed[1:3]))
    low, high = math.log(scale[0]), math.log(scale[1])
    enlargement = jnp.exp(low + (high - low) * jax.random.uniform(jax.random.fold_in(key, 1)))
    matrix = geometry.compose(
        geometry.shear(x=slope[0]),
        geometry.shear(y=slope[1]),
        geometry.scaling(enlargement, enlargement),
        geometry.rotation(degrees * signed[0]),
        geometry.translation(translate * width * signed[3], translate * height * signed[4]),
    )
    return geometry.warp(image, matrix, interpolation=interpolation, fill=fill)
