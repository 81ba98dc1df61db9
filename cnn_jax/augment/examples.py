"""Moves of a whole example: its image, and the mask or the boxes that belong to it.

An example is a mapping of arrays, without a batch axis:

    image   [*space, C]   floats in 0..1
    mask    [*space]      whole numbers, the class of each pixel; IGNORE does not count
    boxes   [N, 4]        (left, top, right, bottom) in pixels
    labels  [N]           the class of each box, -1 where there is no object

Only the image is always there; boxes come with their labels. Every function here moves all that an
example holds in the same way: the image is resampled linearly, the mask by the nearest pixel, boxes
exactly. They are deterministic and traceable in their parameters; the random versions are in
place.py and crops.py.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.augment import geometry
from cnn_jax.typing import Array

Example = Mapping[str, Array]

# What the examples of a task hold besides their image; a label stays what it is.
Holds = Literal["label", "mask", "boxes"]
HOLDS: tuple[Holds, ...] = get_args(Holds)

IGNORE = 255  # class of what is outside the image, as in `cnn_jax.losses`
LEAST_VISIBLE = 0.5  # share of a box's area that must stay in the image
GREY = 0.45  # around images with boxes, on 0..1: about the mean of photographs


def check(example: Example) -> None:
    """Checks the shapes of an example.

    Raises:
        AssertionError: the mask has other sides than the image, boxes are not [N, 4], or not every
            box has a label.
    """
    image = example["image"]
    if "mask" in example or "boxes" in example:
        import chex  # images alone are augmented where it is not installed
    if "mask" in example:
        chex.assert_shape(example["mask"], image.shape[:-1])
    if "boxes" in example:
        chex.assert_rank(image, 3)
        chex.assert_shape(example["boxes"], (None, 4))
        chex.assert_shape(example["labels"], example["boxes"].shape[:1])


def fill(example: Example) -> float:
    """The value of what comes into view from outside the image."""
    return GREY if "boxes" in example else 0.0


def mirror(example: Example, *, axis: int, when: Array) -> Example:
    """Reverses one axis of space, if `when` [] is true.

    Args:
        axis: 0 for the first axis of space, top and bottom; -1 for the last, left and right.
    """
    image = example["image"]
    reversed_axis = axis if axis >= 0 else axis - 1  # the last axis of an image is its channels
    moved = {"image": jnp.where(when, jnp.flip(image, reversed_axis), image)}
    if "mask" in example:
        mask = example["mask"]
        moved["mask"] = jnp.where(when, jnp.flip(mask, axis), mask)
    if "boxes" in example:
        boxes, side = example["boxes"], image.shape[reversed_axis]
        low, high = (1, 3) if axis == 0 else (0, 2)
        mirrored = boxes.at[:, low].set(side - boxes[:, high])
        mirrored = mirrored.at[:, high].set(side - boxes[:, low])
        moved["boxes"] = jnp.where(when, mirrored, boxes)
    return {**example, **moved}


def warp(example: Example, matrix: Array) -> Example:
    """Moves every point p to `matrix @ p`, resampling once; boxes are not cut off.

    Args:
        matrix: [3, 3], an invertible affine map about the centre, see `cnn_jax.augment.geometry`.
            Beside boxes it keeps the axes parallel: the box of a turned object is not known.
    """
    image = example["image"]
    moved = {"image": geometry.warp(image, matrix, fill=fill(example))}
    if "mask" in example:
        mask = example["mask"]
        # small whole numbers are exact in float32
        values = geometry.warp(
            mask[..., None].astype(jnp.float32), matrix, interpolation="nearest", fill=IGNORE
        )
        moved["mask"] = values[..., 0].astype(mask.dtype)
    if "boxes" in example:
        height, width = image.shape[:2]
        centre = jnp.array([width, height, width, height]) / 2
        scale = jnp.array([matrix[0, 0], matrix[1, 1]])
        shift = jnp.array([matrix[0, 2], matrix[1, 2]])
        from_centre = (example["boxes"] - centre) * jnp.tile(scale, 2)
        moved["boxes"] = from_centre + jnp.tile(shift, 2) + centre
    return {**example, **moved}


def pad(example: Example, widths: Sequence[tuple[int, int]]) -> Example:
    """Adds (before, after) pixels along each axis of space."""
    image = jnp.pad(example["image"], [*widths, (0, 0)], constant_values=fill(example))
    moved = {"image": image}
    if "mask" in example:
        moved["mask"] = jnp.pad(example["mask"], widths, constant_values=IGNORE)
    if "boxes" in example:
        corner = jnp.array([widths[1][0], widths[0][0]], jnp.float32)  # x, y
        moved["boxes"] = example["boxes"] + jnp.tile(corner, 2)
    return {**example, **moved}


def cut(example: Example, start: Sequence[int] | Array, size: Sequence[int]) -> Example:
    """The window of this size that begins at `start` and lies inside; boxes are not cut off.

    Args:
        start: [n] whole numbers, the first pixel along each axis of space.
        size: n whole numbers, sides of the window.
    """
    image, start = example["image"], tuple(start)
    moved = {"image": jax.lax.dynamic_slice(image, (*start, 0), (*size, image.shape[-1]))}
    if "mask" in example:
        moved["mask"] = jax.lax.dynamic_slice(example["mask"], start, tuple(size))
    if "boxes" in example:
        corner = jnp.array([start[1], start[0]], jnp.float32)
        moved["boxes"] = example["boxes"] - jnp.tile(corner, 2)
    return {**example, **moved}


def resize(example: Example, start: Array, length: Array, size: Sequence[int]) -> Example:
    """Brings a window of the image to a fixed size; boxes are not cut off.

    Args:
        start: [n] the first pixel of the window along each axis of space; may be fractional.
        length: [n] its sides in pixels, at least 1.
        size: n whole numbers, sides of the result.
    """
    moved = {"image": geometry.crop_and_resize(example["image"], start, length, size)}
    if "mask" in example:
        mask = example["mask"]
        for axis, want in enumerate(size):
            middle = start[axis] + (jnp.arange(want) + 0.5) * length[axis] / want
            nearest = jnp.clip(jnp.floor(middle), 0, mask.shape[axis] - 1).astype(jnp.int32)
            mask = jnp.take(mask, nearest, axis=axis)
        moved["mask"] = mask
    if "boxes" in example:
        corner, sides = start[::-1], length[::-1]  # x, y
        scale = jnp.array(size[::-1], jnp.float32) / sides
        moved["boxes"] = (example["boxes"] - jnp.tile(corner, 2)) * jnp.tile(scale, 2)
    return {**example, **moved}


def cut_boxes(example: Example) -> Example:
    """Cuts boxes off at the border of the image."""
    if "boxes" not in example:
        return example
    height, width = example["image"].shape[:2]
    return {**example, "boxes": box_ops.clip(example["boxes"], width, height)}


def keep_visible(example: Example) -> Example:
    """Cuts boxes off at the border; those with less than LEAST_VISIBLE inside lose their label."""
    if "boxes" not in example:
        return example
    whole = box_ops.area(example["boxes"])
    example = cut_boxes(example)
    inside = box_ops.area(example["boxes"])
    visible = (inside >= LEAST_VISIBLE * whole) & (inside > 0)
    return {**example, "labels": jnp.where(visible, example["labels"], -1)}
