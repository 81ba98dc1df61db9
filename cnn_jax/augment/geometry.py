"""Geometry of images: affine maps, warping by them, cropping with resampling.

Deterministic and traceable in their parameters; the random versions are in place.py.

Coordinates are (x, y) in pixels, x to the right and y down, and the origin is the *centre* of the
image. The pixel in row i and column j is a square of side 1 whose middle is at
(j + 1/2 - W/2, i + 1/2 - H/2).
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array

Interpolation = Literal["nearest", "bilinear"]
Number = float | Array


def rotation(degrees: Number) -> Array:
    """The map [3, 3] that turns an image counter-clockwise about its centre."""
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix((cos, sin, 0.0), (-sin, cos, 0.0))  # y points down


def scaling(x: Number, y: Number) -> Array:
    """The map [3, 3] that enlarges by x along the width and y along the height; not 0."""
    return _matrix((x, 0.0, 0.0), (0.0, y, 0.0))


def shear(x: Number = 0.0, y: Number = 0.0) -> Array:
    """The map [3, 3] (u, v) -> (u + x v, v + y u): x and y are tangents, not angles."""
    return _matrix((1.0, x, 0.0), (y, 1.0, 0.0))


def translation(x: Number = 0.0, y: Number = 0.0) -> Array:
    """The map [3, 3] that moves an image x pixels to the right and y pixels down."""
    return _matrix((1.0, 0.0, x), (0.0, 1.0, y))


def between(low: float, high: float, share: Number) -> Array:
    """A factor between two, log-uniform if the share is uniform on 0..1."""
    return jnp.exp(math.log(low) + (math.log(high) - math.log(low)) * share)


def inverse(matrix: Array) -> Array:
    """The inverse of an affine map [3, 3], in closed form: no solver under vmap."""
    (a, b, u), (c, d, v) = matrix[0], matrix[1]
    determinant = a * d - b * c
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    return _matrix((a, b, -(a * u + b * v)), (c, d, -(c * u + d * v)))


def compose(*maps: Array) -> Array:
    """The affine map that applies these in order, the first one first."""
    return functools.reduce(lambda done, then: _product(then, done), maps)


def warp(
    image: Array,
    matrix: Array,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> Array:
    """Moves every point p of an image to `matrix @ p`.

    However many maps are composed into the matrix, the image is resampled once. What comes from
    outside the image is `fill`; with bilinear interpolation the border fades into it, as if the
    image stood on a sheet of that colour (torchvision does so for the value 0).

    Args:
        image: [H, W, C], any float dtype.
        matrix: [3, 3], an invertible affine map about the centre; see `rotation`, `shear`, ...
        interpolation: 'nearest' or 'bilinear'.
        fill: a number, or one per channel.

    Returns:
        [H, W, C], of the image's dtype.

    Raises:
        ValueError: if the image is not [H, W, C] or the interpolation is unknown.
    """
    if image.ndim != 3:
        raise ValueError(f"warp: wanted an image [H, W, C], got shape {image.shape}")
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"warp: interpolation is 'nearest' or 'bilinear', not {interpolation!r}")
    height, width, channels = image.shape
    colour = jnp.broadcast_to(jnp.asarray(fill, image.dtype), (channels,))
    pixels = image.reshape(-1, channels)  # [H * W, C]

    def at(row: Array, column: Array) -> Array:
        """The pixels [H, W, C] at whole-numbered positions, given as floats."""
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = jnp.where(inside, row * width + column, 0).astype(jnp.int32)
        return jnp.where(inside[..., None], jnp.take(pixels, index, axis=0, mode="clip"), colour)

    back = inverse(jnp.asarray(matrix, jnp.float32))
    y = (jnp.arange(height, dtype=jnp.float32) + 0.5 - height / 2)[:, None]
    x = (jnp.arange(width, dtype=jnp.float32) + 0.5 - width / 2)[None, :]
    column = back[0, 0] * x + back[0, 1] * y + back[0, 2] + width / 2 - 0.5
    row = back[1, 0] * x + back[1, 1] * y + back[1, 2] + height / 2 - 0.5
    if interpolation == "nearest":
        return at(jnp.round(row), jnp.round(column))
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]  # 0..1, float32
    upper = (1 - right) * at(top, left) + right * at(top, left + 1)
    lower = (1 - right) * at(top + 1, left) + right * at(top + 1, left + 1)
    return ((1 - down) * upper + down * lower).astype(image.dtype)


def crop_and_resize(
    image: Array, start: Array | Sequence[int], length: Array | Sequence[int], size: Sequence[int]
) -> Array:
    """Cuts a box out of an image and resamples it to a fixed size, axis by axis.

    Linear interpolation as Pillow and torchvision do it: when shrinking, the triangle that weights
    the neighbours is widened by the scale (antialiasing), and pixels outside the box have no part.
    The weights of each axis form a small matrix, so that the work is matrix products: boxes may
    differ between the examples of a batch at no cost.

    Args:
        image: [*space, C].
        start: [n] the first pixel of the box along each of the n spatial axes; may be fractional.
        length: [n] its extent in pixels, at least 1.
        size: n whole numbers, the shape to return.

    Returns:
        [*size, C], of the image's dtype.
    """
    if not len(size) == image.ndim - 1:
        raise ValueError(
            f"crop_and_resize: size {tuple(size)} does not suit an image {image.shape}"
        )
    dtype, image = image.dtype, image.astype(jnp.promote_types(image.dtype, jnp.float32))
    for axis, wanted in enumerate(size):
        weights = _triangle_weights(image.shape[axis], start[axis], length[axis], wanted)
        moved = jnp.tensordot(weights, image, (1, axis), precision=jax.lax.Precision.HIGHEST)
        image = jnp.moveaxis(moved, 0, axis)
    return image.astype(dtype)


def random_box(
    key: Array,
    space: Sequence[int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    attempts: int = 10,
) -> tuple[Array, Array, Array]:
    """Draws a box of random area and aspect ratio that lies inside an image.

    Szegedy 2015 (arXiv 1409.4842, section 6), by rejection as in torchvision: draw an area and a
    ratio until the box fits, at most `attempts` times.

    Args:
        key: one key.
        space: the sides of the image, in pixels.
        scale: bounds of the share of the area, uniform.
        ratio: bounds of width over height, log-uniform. Only images (two axes) have one; in one
            or three dimensions the box keeps the proportions of the image.

    Returns:
        (start [n], length [n], found []): whole numbers of pixels, and whether one fitted. If not,
        start and length are 0.
    """
    n, sides = len(space), jnp.asarray(space, jnp.float32)
    # One draw for everything: a program compiles each draw anew.
    uniform = jax.random.uniform(key, (2 * attempts + n,))
    share = scale[0] + (scale[1] - scale[0]) * uniform[:attempts, None]
    if n == 2:
        low, high = math.log(ratio[0]), math.log(ratio[1])
        aspect = jnp.exp(low + (high - low) * uniform[attempts : 2 * attempts, None])
        stretch = jnp.concatenate([1 / aspect, aspect], axis=1)
        length = jnp.sqrt(share * math.prod(space) * stretch)  # height, width
    else:
        length = share ** (1 / n) * sides
    length = jnp.round(length)  # [attempts, n]
    fits = ((length >= 1) & (length <= sides)).all(axis=1)
    found = fits.any()
    length = jnp.where(found, length[jnp.argmax(fits)], 0)  # the first that fits
    start = jnp.where(found, jnp.floor(uniform[2 * attempts :] * (sides - length + 1)), 0)
    return start.astype(jnp.int32), length.astype(jnp.int32), found


def _triangle_weights(size: int, start: Number, length: Number, wanted: int) -> Array:
    """[wanted, size]: how much each input pixel contributes to each output pixel; rows sum to 1."""
    scale = jnp.asarray(length, jnp.float32) / wanted
    centre = start + scale * (jnp.arange(wanted) + 0.5)[:, None]  # [wanted, 1], in input pixels
    middle = jnp.arange(size) + 0.5  # [size]
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(middle - centre) / jnp.maximum(scale, 1.0))
    weights = jnp.where((middle > start) & (middle < start + length), weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _matrix(first: Sequence[Number], second: Sequence[Number]) -> Array:
    rows = [jnp.stack([jnp.asarray(v, jnp.float32) for v in row]) for row in (first, second)]
    return jnp.stack([*rows, jnp.array([0.0, 0.0, 1.0])])


def _product(a: Array, b: Array) -> Array:
    """a @ b, exactly in float32: a TPU's matrix unit would round pixel coordinates to bfloat16."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
