"""Random changes of place, on the device: flips and affine maps of an example.

Each is a pure function of one key and one example (see examples.py) with a static shape, so that it
can be jitted and mapped over a batch. One key per *example* is what makes the result independent of
the batch: the same example under the same key comes out the same in a batch of 1 or of 1000, on one
device or on 64. `pad_and_crop` is a function of the image alone.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.augment import examples, geometry
from cnn_jax.augment.examples import Example
from cnn_jax.typing import Array


def flip(key: Array, example: Example, *, probability: float = 0.5) -> Example:
    """Mirrors left and right; of a sequence, its time."""
    return examples.mirror(example, axis=-1, when=jax.random.bernoulli(key, probability))


def vertical_flip(key: Array, example: Example, *, probability: float = 0.5) -> Example:
    """Mirrors top and bottom."""
    return examples.mirror(example, axis=0, when=jax.random.bernoulli(key, probability))


def affine(
    key: Array,
    example: Example,
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    smallest: float = 1.0,
    largest: float = 1.0,
    shear: float = 0.0,
    stretch: float = 1.0,
) -> Example:
    """Turns, moves and scales about the centre, resampling once.

    Args:
        degrees: the rotation is uniform on -degrees..degrees; 0 beside boxes.
        translate: largest shift along each axis, as a share of the side.
        smallest, largest: bounds of the enlargement, log-uniform.
        shear: largest horizontal and vertical shear, in degrees; 0 beside boxes.
        stretch: bound of width against height, log-uniform from 1 / stretch.

    Raises:
        ValueError: the example is not an image [H, W, C]; bounds that are not positive and in
            order; a rotation or a shear beside boxes, for the box of a turned object is not known.
    """
    image = example["image"]
    if image.ndim != 3:
        raise ValueError(f"affine is for images [H, W, C]; it was given {image.shape}")
    if not 0 < smallest <= largest or stretch < 1:
        raise ValueError(
            f"affine: wanted 0 < smallest <= largest and stretch >= 1, got smallest={smallest}, "
            f"largest={largest}, stretch={stretch}"
        )
    if "boxes" in example and (degrees or shear):
        raise ValueError("affine: the box of a turned object is not known; leave the turn out")
    height, width, _ = image.shape
    drawn = _draw(key, example)
    scale = geometry.between(smallest, largest, drawn.size)
    half = jnp.exp(0.5 * math.log(stretch) * drawn.aspect) if stretch > 1 else 1.0
    slope = jnp.tan(jnp.deg2rad(shear * drawn.slopes))
    down, right = translate * height * drawn.shift[1], translate * width * drawn.shift[0]
    matrix = geometry.compose(
        *((geometry.shear(x=slope[0]), geometry.shear(y=slope[1])) if shear else ()),
        geometry.scaling(scale * half, scale / half),
        *((geometry.rotation(degrees * drawn.turn),) if degrees else ()),
        geometry.translation(right, down),
    )
    return examples.keep_visible(examples.warp(example, matrix))


class _Drawn(NamedTuple):
    """The random numbers of an affine map: size in 0..1, the others in -1..1."""

    turn: Array
    slopes: Array  # [2]
    shift: Array  # [2], x and y
    size: Array
    aspect: Array


def _draw(key: Array, example: Example) -> _Drawn:
    """The numbers of an affine map.

    Where a number lies in the draws of the key depends on what the example holds, as it did when
    each task had a map of its own: runs of those versions are resumed with the same draws.
    """
    if "boxes" in example:
        draws = jax.random.uniform(key, (4,))
        signed = 2 * draws - 1
        return _Drawn(jnp.zeros(()), jnp.zeros(2), signed[2:], draws[0], signed[1])
    size = jax.random.uniform(jax.random.fold_in(key, 1))
    aspect = jax.random.uniform(jax.random.fold_in(key, 2), minval=-1.0, maxval=1.0)
    if "mask" in example:
        signed = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
        slopes = jax.random.uniform(jax.random.fold_in(key, 3), (2,), minval=-1.0, maxval=1.0)
        return _Drawn(signed[0], slopes, signed[1:], size, aspect)
    signed = jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
    return _Drawn(signed[0], signed[1:3], signed[3:], size, aspect)


def affine_with_boxes(
    key: Array,
    example: Example,
    *,
    translate: float = 0.0,
    smallest: float = 1.0,
    largest: float = 1.0,
    stretch: float = 1.0,
) -> Example:
    """Moves, scales and stretches about the centre, resampling once."""
    return affine(
        key, example, translate=translate, smallest=smallest, largest=largest, stretch=stretch
    )


def rotate(key: Array, example: Example, *, degrees: float) -> Example:
    """Turns about the centre by up to this many degrees either way."""
    return affine(key, example, degrees=degrees)


def translate(key: Array, example: Example, *, share: float) -> Example:
    """Moves by up to this share of the side along each axis."""
    return affine(key, example, translate=share)


def scale(key: Array, example: Example, *, smallest: float, largest: float) -> Example:
    """Enlarges about the centre by a log-uniform factor between these; the size stays."""
    return affine(key, example, smallest=smallest, largest=largest)


def shear(key: Array, example: Example, *, degrees: float) -> Example:
    """Shears horizontally and vertically by up to this many degrees."""
    return affine(key, example, shear=degrees)
