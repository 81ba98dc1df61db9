"""A classification example: a record decoded, cropped and resized to the shape of the batch."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.data.crop import Window, center_window, random_resized_window, resample, sizes_differ
from cnn_jax.data.decode import decode_image, image_size, read_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_header import is_jpeg
from cnn_jax.data.pixel_rule import CURRENT, PixelRule
from cnn_jax.data.types import Loader, Record, Source

CROPS = ("random_resized", "center", None)


@dataclasses.dataclass(frozen=True)
class LoadImage:
    """(record, rng) -> {'image': uint8 [H, W, C], 'label': int32 []}.

    Attributes:
        channels: channels of the result.
        size: (height, width) of the result; None leaves images at their own size.
        crop: 'random_resized' (`crop.random_resized_window`), 'center' (`crop.center_window`) or
            None: the whole image, resized.
        upright: whether to rotate images as their EXIF orientation says.
        rule: the pixel rule of the run, or of the set.
    """

    channels: int
    size: tuple[int, int] | None = None
    crop: str | None = None
    upright: bool = False
    rule: PixelRule = CURRENT

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, ArrayLike]:
        stored = read_image(record["image"])
        if self.size is None:
            image = self._decoded(stored)
        else:
            image = self._resized(stored, self.size, rng)
        return {"image": image, "label": np.int32(record["label"])}

    @property
    def random(self) -> bool:
        return self.crop == "random_resized"

    def _resized(self, stored: bytes | np.ndarray, size: tuple[int, int], rng) -> np.ndarray:
        if isinstance(stored, bytes) and is_jpeg(stored):
            height, width = image_size(stored, upright=self.upright, rule=self.rule)
        else:  # only JPEGs can be decoded at a fraction of their size
            image = self._decoded(stored)
            height, width = image.shape[:2]
            return resample(image, size, self._window(height, width, size, rng))
        top, left, h, w = self._window(height, width, size, rng)
        # the smallest size to decode the whole image at: the window then has the pixels of `size`
        shrink = min(1.0, max(size[0] / h, size[1] / w))
        image = self._decoded(stored, (round(height * shrink), round(width * shrink)))
        down, across = image.shape[0] / height, image.shape[1] / width
        return resample(image, size, (top * down, left * across, h * down, w * across))

    def _decoded(
        self, stored: bytes | np.ndarray, min_size: tuple[int, int] | None = None
    ) -> np.ndarray:
        return decode_image(
            stored,
            channels=self.channels,
            upright=self.upright,
            min_size=min_size,
            rule=self.rule,
        )

    def _window(self, height: int, width: int, size: tuple[int, int], rng) -> Window:
        if self.crop == "random_resized":
            return random_resized_window(rng, height, width)
        if self.crop == "center":
            return center_window(height, width, size)
        return 0, 0, height, width


def image_loader(
    source: Source,
    image_size: int | tuple[int, int] | None = None,
    crop: str | None = None,
) -> Loader:
    """The loader that gives a source's images one size; for other examples the source's own.

    Args:
        source: a source of images with labels, or of sequences.
        image_size: (height, width) or one number for both; None if all images have one size.
        crop: 'random_resized', 'center', or None: images are resized whole.

    Raises:
        DataError: the images may differ in size and no size is given; an unknown crop; a size or a
            crop for a source without images.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if source.load is not None:
        if size is not None or crop is not None:
            raise DataError(
                f"image_size={image_size}, crop={crop}: {source.name} holds no images, and its "
                "examples have one size; leave both out"
            )
        return source.load
    if crop not in CROPS:
        raise DataError(f"crop={crop}: choose 'random_resized', 'center' or None")
    height, width, channels = source.image_shape
    if size is None and (height is None or width is None):
        raise sizes_differ(source)
    if size is None and crop and height and width:
        size = (height, width)  # a crop at the images' own size
    if size is not None and min(size) < 1:
        raise DataError(f"image_size={image_size}: wanted at least one pixel per side")
    return LoadImage(channels, size, crop, source.upright, source.pixels)
