"""An example with a class for every pixel: an image and its mask, at one size.

A mask is an image of one channel whose values stand for classes; IGNORE marks the pixels that do
not count.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from cnn_jax.data.crop import resample, sizes_differ
from cnn_jax.data.decode import decode_image, decode_mask
from cnn_jax.data.orientation import UPRIGHT, turn_pixels
from cnn_jax.data.pixel_rule import CURRENT, PixelRule
from cnn_jax.data.types import Record, Source

IGNORE = 255


@dataclasses.dataclass(frozen=True, eq=False)
class MaskSource(Source):
    """A `Source` whose masks have other values than the indices of the classes.

    Attributes:
        values: mask values of each class; empty for the index of the class alone.
        ignored: mask values to ignore, besides IGNORE if no class has that. Any other value is an
            error; None ignores all values that no class has.
    """

    values: Sequence[Sequence[int]] = ()
    ignored: Sequence[int] | None = ()


@dataclasses.dataclass(frozen=True)
class LoadMask:
    """(record, rng) -> {'image': uint8 [H, W, C], 'label': uint8 [H, W]}, IGNORE included.

    Images are resized linearly, masks by the nearest pixel.

    Attributes:
        channels: channels of the image.
        translation: for each of 256 mask values its class, IGNORE, or -1 for an error.
        size: (height, width) of the result; None leaves images at their own size.
        upright: whether to rotate images as their EXIF orientation says; masks stay. A record's
            own 'upright' goes before, and its 'turn' is how to turn the mask.
        rule: the pixel rule of the run, or of the set.
    """

    channels: int
    translation: tuple[int, ...]
    size: tuple[int, int] | None = None
    upright: bool = False
    rule: PixelRule = CURRENT
    random: ClassVar[bool] = False

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        upright = record.get("upright", self.upright)
        image = decode_image(
            record["image"], channels=self.channels, upright=upright, rule=self.rule
        )
        mask = turn_pixels(decode_mask(record["mask"]), record.get("turn", UPRIGHT))
        if mask.shape != image.shape[:2]:
            sizes = ["x".join(map(str, x.shape[1::-1])) for x in (mask, image)]
            raise ValueError(f"its mask has {sizes[0]} pixels and its image {sizes[1]}")
        translation = np.array(self.translation, np.int16)
        label = translation[mask]
        if (wrong := mask[label < 0]).size:
            classes = translation[translation != IGNORE].max() + 1
            raise ValueError(
                f"{wrong.size} pixels of its mask have a value such as {wrong[0]}, which is "
                f"none of the {classes} classes and not ignored"
            )
        label = label.astype(np.uint8)
        if self.size is not None:
            image, label = resample(image, self.size), _nearest(label, self.size)
        return {"image": image, "label": label}


def mask_loader(source: Source, image_size: tuple[int, int] | None = None) -> LoadMask:
    """The loader that gives a source's images and masks one size.

    Args:
        image_size: (height, width); None if all images have one size.

    Raises:
        DataError: the images may differ in size and no size is given.
    """
    if image_size is None and None in source.image_shape[:2]:
        raise sizes_differ(source)
    channels = source.image_shape[2]
    return LoadMask(channels, translation(source), image_size, source.upright, source.pixels)


def translation(source: Source) -> tuple[int, ...]:
    """For each of 256 mask values its class, IGNORE, or -1 for an error.

    The value IGNORE is ignored, unless a class has it: black and white masks.
    """
    values: Sequence[Sequence[int]] = [(i,) for i in range(source.num_classes)]
    ignored: Sequence[int] | None = ()
    if isinstance(source, MaskSource):
        values, ignored = source.values or values, source.ignored
    table = dict.fromkeys(range(256), IGNORE if ignored is None else -1) | {IGNORE: IGNORE}
    for index, some in enumerate(values):
        table |= dict.fromkeys(some, index)
    return tuple((table | dict.fromkeys(ignored or (), IGNORE)).values())


def _nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes labels by the value at the centre of each new pixel."""
    rows, columns = (
        ((np.arange(want) + 0.5) * have / want).astype(int)
        for want, have in zip(size, label.shape, strict=True)
    )
    return label[rows[:, None], columns]
