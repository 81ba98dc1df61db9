"""Augmentations that move a picture and its labels together, on the device.

Each is a pure function (key, image [H, W, C], label [H, W]) -> (image, label) of one example, with
a static shape. What comes into view from outside has the label IGNORE, which no loss and no metric
counts. Pictures are resampled linearly, labels by the nearest pixel.

`parse` reads a list such as 'flip,affine:10:0.1:0.8:1.25,crop:96,colour:0.2'.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax.augment import geometry, spec
from cnn_jax.typing import Array

IGNORE = 255  # the label of what is outside the picture, as in `cnn_jax.losses`

PairedAugmentation = Callable[[Array, Array, Array], tuple[Array, Array]]


def flip(key: Array, image: Array, label: Array, *, probability: float = 0.5):
    """Mirrors left and right, with this probability."""
    flipped = jax.random.bernoulli(key, probability)
    return tuple(jnp.where(flipped, jnp.flip(x, 1), x) for x in (image, label))


def vertical_flip(key: Array, image: Array, label: Array, *, probability: float = 0.5):
    """Mirrors top and bottom, with this probability."""
    flipped = jax.random.bernoulli(key, probability)
    return tuple(jnp.where(flipped, jnp.flip(x, 0), x) for x in (image, label))


def affine(
    key: Array,
    image: Array,
    label: Array,
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    smallest: float = 1.0,
    largest: float = 1.0,
):
    """Turns, moves and scales about the centre, resampling once.

    Args:
        degrees: the rotation is uniform on -degrees..degrees.
        translate: the largest shift along each axis, as a share of the side.
        smallest, largest: bounds of the enlargement, log-uniform.
    """
    height, width, _ = image.shape
    signed = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    low, high = math.log(smallest), math.log(largest)
    scale = jnp.exp(low + (high - low) * jax.random.uniform(jax.random.fold_in(key, 1)))
    matrix = geometry.compose(
        geometry.scaling(scale, scale),
        geometry.rotation(degrees * signed[0]),
        geometry.translation(translate * width * signed[1], translate * height * signed[2]),
    )
    return geometry.warp(image, matrix), _warp_label(label, matrix)


def rotate(key: Array, image: Array, label: Array, *, degrees: float):
    """Turns about the centre by up to this many degrees either way."""
    return affine(key, image, label, degrees=degrees)


def scale(key: Array, image: Array, label: Array, *, smallest: float, largest: float):
    """Enlarges about the centre by a log-uniform factor between these; the size stays."""
    return affine(key, image, label, smallest=smallest, largest=largest)


def crop(key: Array, image: Array, label: Array, *, height: int, width: int = 0):
    """Cuts out a window at a random place; a smaller picture is put at a random place of it.

    Args:
        height, width: of the window in pixels; without a width it is a square.
    """
    size = (height, width or height)
    missing = [max(want - have, 0) for want, have in zip(size, label.shape, strict=True)]
    pads = [(m, m) for m in missing]
    image = jnp.pad(image, [*pads, (0, 0)])
    label = jnp.pad(label, pads, constant_values=IGNORE)
    room = [have - want for have, want in zip(label.shape, size, strict=True)]
    start = jax.random.randint(key, (2,), 0, jnp.array(room) + 1)
    image = jax.lax.dynamic_slice(image, (*start, 0), (*size, image.shape[-1]))
    return image, jax.lax.dynamic_slice(label, tuple(start), size)


def scaled_crop(
    key: Array,
    image: Array,
    label: Array,
    *,
    smallest: float,
    largest: float,
    height: int,
    width: int = 0,
):
    """Enlarges by a log-uniform factor and cuts a window at a random place, resampling once.

    The usual augmentation of street scenes and of Pascal VOC, with factors of 0.5 to 2
    (arXiv:1706.05587, section 4).

    Args:
        smallest, largest: bounds of the enlargement.
        height, width: of the window in pixels; without a width it is a square.
    """
    size = jnp.array([height, width or height])
    keys = jax.random.split(key, 2)
    low, high = math.log(smallest), math.log(largest)
    factor = jnp.exp(low + (high - low) * jax.random.uniform(keys[0]))
    whole = jnp.array(label.shape) * factor
    # Where the enlarged picture is the larger one the window lies inside it, else around it.
    room = jnp.abs(whole - size) / 2
    down, right = room * jax.random.uniform(keys[1], (2,), minval=-1.0, maxval=1.0)
    matrix = geometry.compose(geometry.scaling(factor, factor), geometry.translation(right, down))
    return _window(image, label, matrix, (height, width or height))


def _window(image: Array, label: Array, matrix: Array, size: Sequence[int]):
    """Warps, and keeps the central window of this size, whether smaller or larger."""
    missing = [max(want - have, 0) for want, have in zip(size, label.shape, strict=True)]
    pads = [(m // 2, m - m // 2) for m in missing]
    image = geometry.warp(jnp.pad(image, [*pads, (0, 0)]), matrix)
    label = _warp_label(jnp.pad(label, pads, constant_values=IGNORE), matrix)
    top, left = [(have - want) // 2 for have, want in zip(label.shape, size, strict=True)]
    return tuple(x[top : top + size[0], left : left + size[1]] for x in (image, label))


def _warp_label(label: Array, matrix: Array) -> Array:
    # Small whole numbers are exact in float32.
    moved = geometry.warp(
        label[..., None].astype(jnp.float32), matrix, interpolation="nearest", fill=IGNORE
    )
    return moved[..., 0].astype(label.dtype)


VOCABULARY: dict[str, Callable] = {
    function.__name__: function
    for function in (flip, vertical_flip, affine, rotate, scale, crop, scaled_crop)
}

# Words of `cnn_jax.augment.spec` that leave every pixel in its place: for the picture alone.
PICTURE_ONLY = ("colour", "grayscale", "blur", "cutout", "erasing")


def parse(specification: str) -> PairedAugmentation:
    """Reads an augmentation (key, image, label) -> (image, label) from its specification.

    Words are separated by commas and applied in the order written; each is a name of VOCABULARY or
    PICTURE_ONLY and, after colons, its numbers in order. '' changes nothing.

    Raises:
        ValueError: an unknown name, or numbers that are missing, too many, or none.
    """
    words = [word.strip() for word in specification.split(",") if word.strip() not in ("", "none")]
    steps = [_parse_word(word) for word in words]

    def augment(key: Array, image: Array, label: Array) -> tuple[Array, Array]:
        for i, step in enumerate(steps):
            image, label = step(jax.random.fold_in(key, i), image, label)
        return image, label

    return augment


def _parse_word(text: str) -> PairedAugmentation:
    name, *values = text.split(":")
    if name in PICTURE_ONLY:
        change = spec.parse(text)
        return lambda key, image, label: (change(key, image), label)
    if name not in VOCABULARY:
        known = (*VOCABULARY, *PICTURE_ONLY)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown augmentation of picture and mask {name!r}; {hint}Known: {', '.join(known)}"
        )
    parameters = list(inspect.signature(VOCABULARY[name]).parameters.values())[3:]
    required = sum(p.default is p.empty for p in parameters)
    if not required <= len(values) <= len(parameters):
        raise ValueError(
            f"augmentation {text!r}: {len(values)} values, but it is written "
            f"{':'.join([name, *(p.name for p in parameters)])}"
        )
    arguments = {}
    for parameter, value in zip(parameters, values, strict=False):
        try:
            arguments[parameter.name] = parameter.annotation(value)
        except ValueError:
            raise ValueError(
                f"augmentation {text!r}: {parameter.name} is {value!r}, wanted a number"
            ) from None
    return partial(VOCABULARY[name], **arguments)
