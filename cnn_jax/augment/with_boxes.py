"""Augmentations that move a picture and its boxes together, on the device.

Each is a pure function (key, image [H, W, C], boxes [N, 4], labels [N]) -> (image, boxes, labels)
of one example, with a static shape. Boxes are (left, top, right, bottom) in pixels and follow the
picture exactly: there is no rotation here, for the box of a turned object is not known. What leaves
the picture by more than half loses its label (-1); the rest is cut off at the border.

`parse` reads a list such as 'flip,affine:0.1:0.8:1.25,colour:0.2'.
"""

import difflib
import inspect
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from cnn_jax import boxes as box_ops
from cnn_jax.augment import geometry, spec
from cnn_jax.typing import Array

Example = tuple[Array, Array, Array]
BoxAugmentation = Callable[[Array, Array, Array, Array], Example]

LEAST_VISIBLE = 0.5  # share of a box's area that must stay in the picture
GREY = 0.45  # around the picture, on 0..1: about the mean of photographs

# IoU that a crop must have with some object; 0 for any crop, and 1 for the whole picture.
SSD_OVERLAPS = (1.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # Liu et al. 2016, arXiv:1512.02325, section 2.2


def flip(key: Array, image: Array, boxes: Array, labels: Array, *, probability: float = 0.5):
    """Mirrors left and right, with this probability."""
    flipped = jax.random.bernoulli(key, probability)
    width = image.shape[1]
    mirrored = boxes.at[:, 0].set(width - boxes[:, 2]).at[:, 2].set(width - boxes[:, 0])
    return jnp.where(flipped, image[:, ::-1], image), jnp.where(flipped, mirrored, boxes), labels


def vertical_flip(
    key: Array, image: Array, boxes: Array, labels: Array, *, probability: float = 0.5
):
    """Mirrors top and bottom, with this probability."""
    flipped = jax.random.bernoulli(key, probability)
    height = image.shape[0]
    mirrored = boxes.at[:, 1].set(height - boxes[:, 3]).at[:, 3].set(height - boxes[:, 1])
    return jnp.where(flipped, image[::-1], image), jnp.where(flipped, mirrored, boxes), labels


def affine(
    key: Array,
    image: Array,
    boxes: Array,
    labels: Array,
    *,
    translate: float = 0.0,
    smallest: float = 1.0,
    largest: float = 1.0,
    stretch: float = 1.0,
):
    """Moves, scales and stretches about the centre, resampling once.

    Args:
        translate: the largest shift along each axis, as a share of the side.
        smallest, largest: bounds of the enlargement, log-uniform.
        stretch: bound of width against height, log-uniform from 1 / stretch.
    """
    height, width, _ = image.shape
    draws = jax.random.uniform(key, (4,))
    signed = 2 * draws - 1
    low, high = math.log(smallest), math.log(largest)
    scale = jnp.exp(low + (high - low) * draws[0])
    half = jnp.exp(0.5 * math.log(stretch) * signed[1])
    matrix = geometry.compose(
        geometry.scaling(scale * half, scale / half),
        geometry.translation(translate * width * signed[2], translate * height * signed[3]),
    )
    image = geometry.warp(image, matrix, fill=GREY)
    return image, *keep_visible(_moved(boxes, matrix, image.shape), labels, image.shape)


def ssd_crop(
    key: Array,
    image: Array,
    boxes: Array,
    labels: Array,
    *,
    smallest: float = 0.3,
    attempts: int = 20,
):
    """A window that holds enough of some object, enlarged to the whole picture; or no change.

    Liu et al. 2016, arXiv:1512.02325, section 2.2: the least IoU with an object is drawn from
    SSD_OVERLAPS, the window has sides of 0.3 to 1 and a ratio of 1/2 to 2, and objects stay whose
    centre is inside. The first of `attempts` windows that suits is taken, with static shapes.

    Args:
        smallest: side of the window, as a share of the picture's.
    """
    height, width, _ = image.shape
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
    window = jnp.where(taken, windows[first], jnp.concatenate([jnp.zeros(2), size]))
    labels = jnp.where(~taken | inside[first], labels, -1)
    corner, sides = window[:2], window[2:] - window[:2]
    image = geometry.crop_and_resize(image, corner[::-1], sides[::-1], (height, width))
    boxes = (boxes - jnp.tile(corner, 2)) * jnp.tile(size / sides, 2)
    return image, cut(boxes, image.shape), labels


def keep_visible(boxes: Array, labels: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Cuts boxes at the border; those of which less than LEAST_VISIBLE stays lose their label."""
    inside = cut(boxes, shape)
    visible = box_ops.area(inside) >= LEAST_VISIBLE * box_ops.area(boxes)
    return inside, jnp.where(visible & (box_ops.area(inside) > 0), labels, -1)


def cut(boxes: Array, shape: tuple[int, ...]) -> Array:
    """Boxes [..., 4] cut off at the border of a picture [H, W, C]."""
    return box_ops.clip(boxes, shape[1], shape[0])


def mosaic(keys: Array, batch: dict[str, Array], *, probability: float) -> dict[str, Array]:
    """Puts four pictures at half their size into one, each into a quarter of its own.

    Bochkovskiy et al. 2020, arXiv:2004.10934, section 3.3, with the cross in the middle. The four
    are neighbours (i XOR 1, i XOR 2, i XOR 3), so that no picture leaves its device. Boxes: of the
    4 N, the N largest.

    Args:
        keys: [B]; B must be a multiple of four.
        batch: 'image' [B, H, W, C] floats with even sides, 'boxes' [B, N, 4], 'labels' [B, N].
        probability: that a group of four becomes mosaics.

    Raises:
        ValueError: B is no multiple of four, or a side is odd.
    """
    image, boxes, labels = batch["image"], batch["boxes"], batch["labels"]
    size, height, width, channels = image.shape
    if size % 4 or height % 2 or width % 2:
        raise ValueError(
            f"mosaic got {size} pictures of {height}x{width}; it wants a multiple of four (on each "
            "device, under pmap) with even sides."
        )
    half = image.reshape(size, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    half = half.reshape(size // 4, 4, height // 2, width // 2, channels)
    turned = jnp.stack([half[:, jnp.arange(4) ^ i] for i in range(4)], 2)  # [B/4, 4, quarter, ...]
    rows = [jnp.concatenate([turned[:, :, q], turned[:, :, q + 1]], axis=3) for q in (0, 2)]
    mixed = jnp.concatenate(rows, axis=2).reshape(image.shape)
    corner = jnp.array([[0, 0], [width // 2, 0], [0, height // 2], [width // 2, height // 2]])
    grouped = boxes.reshape(size // 4, 4, -1, 4) / 2
    moved = jnp.stack(
        [grouped[:, jnp.arange(4) ^ i] + jnp.tile(corner[i], 2) for i in range(4)], 2
    ).reshape(size, -1, 4)  # [B, 4N, 4]
    named = labels.reshape(size // 4, 4, -1)
    named = jnp.stack([named[:, jnp.arange(4) ^ i] for i in range(4)], 2).reshape(size, -1)
    areas = jnp.where(named >= 0, box_ops.area(moved), -1.0)
    _, order = jax.lax.top_k(areas, boxes.shape[1])
    moved = jnp.take_along_axis(moved, order[..., None], axis=1)
    named = jnp.take_along_axis(named, order, axis=1)
    draws = jax.vmap(jax.random.uniform)(keys[::4])
    chosen = jnp.repeat(draws < probability, 4)
    pick = lambda new, old: jnp.where(  # noqa: E731
        chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old
    )
    return {
        **batch,
        "image": pick(mixed, image),
        "boxes": pick(moved, boxes),
        "labels": pick(named, labels),
    }


VOCABULARY: dict[str, Callable] = {
    function.__name__: function for function in (flip, vertical_flip, affine, ssd_crop)
}

# Words of `cnn_jax.augment.spec` that leave every pixel in its place: for the picture alone.
PICTURE_ONLY = ("colour", "grayscale", "blur", "cutout", "erasing")


def parse(specification: str) -> BoxAugmentation:
    """Reads an augmentation from its specification.

    Words are separated by commas and applied in the order written; each is a name of VOCABULARY or
    PICTURE_ONLY and, after colons, its numbers in order. '' changes nothing.

    Raises:
        ValueError: an unknown name, or numbers that are missing, too many, or none.
    """
    words = [word.strip() for word in specification.split(",") if word.strip() not in ("", "none")]
    steps = [_parse_word(word) for word in words]

    def augment(key: Array, image: Array, boxes: Array, labels: Array) -> Example:
        for i, step in enumerate(steps):
            image, boxes, labels = step(jax.random.fold_in(key, i), image, boxes, labels)
        return image, boxes, labels

    return augment


def _parse_word(text: str) -> BoxAugmentation:
    name, *values = text.split(":")
    if name in PICTURE_ONLY:
        change = spec.parse(text)
        return lambda key, image, boxes, labels: (change(key, image), boxes, labels)
    if name not in VOCABULARY:
        known = (*VOCABULARY, *PICTURE_ONLY)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown augmentation of picture and boxes {name!r}; {hint}Known: {', '.join(known)}"
        )
    parameters = list(inspect.signature(VOCABULARY[name]).parameters.values())[4:]
    if len(values) > len(parameters):
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


def _moved(boxes: Array, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Boxes [N, 4] under a map [3, 3] about the centre that keeps axes parallel."""
    height, width = shape[:2]
    centre = jnp.array([width, height, width, height]) / 2
    scale = jnp.array([matrix[0, 0], matrix[1, 1]])
    shift = jnp.array([matrix[0, 2], matrix[1, 2]])
    return (boxes - centre) * jnp.tile(scale, 2) + jnp.tile(shift, 2) + centre
