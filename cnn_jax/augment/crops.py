"""Random crops, on the device: windows of an example; see place.py for what they have in common.

`pad_and_crop` is a function of the image alone.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.augment import examples, geometry
from cnn_jax.augment.examples import Example
from cnn_jax.typing import Array

Padding = Literal["reflect", "constant"]

# IoU that a crop must have with some object; 0 for any crop, and 1 for the whole image.
SSD_OVERLAPS = (1.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # Liu et al. 2016, arXiv:1512.02325, section 2.2


def pad_and_crop(key: Array, image: Array, *, padding: int, mode: Padding = "reflect") -> Array:
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


def window(key: Array, example: Example, *, height: int, width: int = 0) -> Example:
    """Cuts out a window at a random place; a smaller image is put at a random place of it.

    Args:
        height, width: of the window in pixels; without a width it is a square.
    """
    size = (height, width or height)
    space = example["image"].shape[:-1]
    missing = [max(want - have, 0) for want, have in zip(size, space, strict=True)]
    example = examples.pad(example, [(m, m) for m in missing])
    space = example["image"].shape[:-1]
    room = [have - want for have, want in zip(space, size, strict=True)]
    start = jax.random.randint(key, (2,), 0, jnp.array(room) + 1)
    return examples.keep_visible(examples.cut(example, start, size))


def scaled_crop(
    key: Array,
    example: Example,
    *,
    smallest: float,
    largest: float,
    height: int,
    width: int = 0,
) -> Example:
    """Enlarges by a log-uniform factor and cuts a window at a random place, resampling once.

    The usual augmentation of street scenes and of Pascal VOC, with factors of 0.5 to 2
    (arXiv:1706.05587, section 4).

    Args:
        smallest, largest: bounds of the enlargement.
        height, width: of the window in pixels; without a width it is a square.
    """
    size = (height, width or height)
    space = example["image"].shape[:-1]
    keys = jax.random.split(key, 2)
    factor = geometry.between(smallest, largest, jax.random.uniform(keys[0]))
    whole = jnp.array(space) * factor
    # Where the enlarged image is the larger one the window lies inside it, else around it.
    room = jnp.abs(whole - jnp.array(size)) / 2
    down, right = room * jax.random.uniform(keys[1], (2,), minval=-1.0, maxval=1.0)
    matrix = geometry.compose(geometry.scaling(factor, factor), geometry.translation(right, down))
    # the central window of the warped image, whether that is smaller or larger
    missing = [max(want - have, 0) for want, have in zip(size, space, strict=True)]
    example = examples.pad(example, [(m // 2, m - m // 2) for m in missing])
    example = examples.warp(example, matrix)
    space = example["image"].shape[:-1]
    start = [(have - want) // 2 for have, want in zip(space, size, strict=True)]
    return examples.keep_visible(examples.cut(example, start, size))


def resized_crop(
    key: Array,
    example: Example,
    *,
    size: int,
    smallest: float = 0.08,
    largest: float = 1.0,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Example:
    """Cuts out a window of random area and aspect ratio and resamples it to a square of `size`.

    Szegedy 2015 (arXiv 1409.4842, section 6), with torchvision's defaults and rejection: if no
    window of ten fits, the largest central one within the bounds of the ratio is taken.

    Args:
        size: side to return, along every axis of space.
        smallest, largest: bounds of the share of the area.
        ratio: bounds of width over height; in one or three dimensions the window keeps the
            proportions of the image, and this is not used.

    Raises:
        ValueError: if the bounds are not in order or not positive, or the share exceeds 1.
    """
    *space, _ = example["image"].shape
    if not 0 < smallest <= largest <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            "resized_crop: wanted 0 < smallest <= largest <= 1 and a ratio (low, high), got "
            f"smallest={smallest}, largest={largest}, ratio={ratio}"
        )
    start, length, found = geometry.random_box(key, space, scale=(smallest, largest), ratio=ratio)
    central = list(space)
    if len(space) == 2:
        height, width = space
        aspect = min(max(width / height, ratio[0]), ratio[1])
        central = [min(height, round(width / aspect)), min(width, round(height * aspect))]
    margin = [(side - kept) // 2 for side, kept in zip(space, central, strict=True)]
    start = jnp.where(found, start, jnp.array(margin))
    length = jnp.where(found, length, jnp.array(central))
    return examples.keep_visible(examples.resize(example, start, length, (size,) * len(space)))


def ssd_crop(key: Array, example: Example, *, smallest: float = 0.3, attempts: int = 20) -> Example:
    """Enlarges a window that holds enough of some object to the whole image; or changes nothing.

    Liu et al. 2016, arXiv:1512.02325, section 2.2: the least IoU with an object is drawn from
    SSD_OVERLAPS, the window has sides of 0.3 to 1 and a ratio of 1/2 to 2, and objects stay whose
    centre is inside. The first of `attempts` windows that suits is taken, with static shapes.

    Args:
        smallest: side of the window, as a share of the image's.
    """
    boxes, labels = example["boxes"], example["labels"]
    height, width, _ = example["image"].shape
    keys = jax.random.split(key, 2)
    least = jax.random.choice(keys[0], jnp.array(SSD_OVERLAPS))
    draws = jax.random.uniform(keys[1], (attempts, 4))
    share = smallest + (1 - smallest) * draws[:, :2]  # of width and height
    start = draws[:, 2:] * (1 - share)
    size = jnp.array([width, height], jnp.float32)
    windows = jnp.concatenate([start, start + share], axis=1) * jnp.tile(size, 2)  # [A, 4]
    present = labels >= 0
    overlap = jnp.where(present, box_ops.pairwise_iou(windows, boxes), 0)  # [A, N]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    within = (middle > windows[:, None, :2]) & (middle < windows[:, None, 2:])
    inside = within.all(-1) & present  # [A, N]
    ratio = share[:, 0] * width / (share[:, 1] * height)
    suits = (ratio > 0.5) & (ratio < 2) & inside.any(1) & (overlap.max(1) >= least)
    first = suits.argmax()
    taken = suits.any() & (least < 1)
    chosen = jnp.where(taken, windows[first], jnp.concatenate([jnp.zeros(2), size]))
    labels = jnp.where(~taken | inside[first], labels, -1)
    corner, sides = chosen[:2], chosen[2:] - chosen[:2]
    example = examples.resize(example, corner[::-1], sides[::-1], (height, width))
    return examples.cut_boxes({**example, "labels": labels})
