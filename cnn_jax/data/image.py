"""One classification example: a record decoded, cropped and resized to the shape of the batch."""

import dataclasses

import numpy as np

from cnn_jax.data import crop as crop_lib
from cnn_jax.data.decode import decode_image, image_size
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Arrays
from cnn_jax.data.source import Source

CROPS = ("random_resized", "center", None)


@dataclasses.dataclass(frozen=True)
class LoadImage:
    """(source, index, rng) -> {'image': uint8 [H, W, C], 'label': int32 []}.

    Attributes:
        size: (height, width) of the result; None leaves images as they are.
        crop: 'random_resized' (see `crop.random_resized_window`), 'center' (`crop.center_window`)
            or None: the whole image, resized.
    """

    size: tuple[int, int] | None
    crop: str | None = None

    def __call__(self, source: Source, index: int, rng: np.random.Generator | None) -> Arrays:
        record = source[index]
        data, channels, upright = record["image"], source.image_shape[2], source.upright
        label = np.int32(record["label"])
        if self.size is None:
            return {"image": decode_image(data, channels=channels, upright=upright), "label": label}
        height, width = image_size(data, upright=upright)
        top, left, h, w = self._window(height, width, rng)
        # The smallest size of the whole at which the window still has as many pixels as wanted.
        shrink = min(1.0, max(self.size[0] / h, self.size[1] / w))
        enough = (round(height * shrink), round(width * shrink))
        image = decode_image(data, channels=channels, upright=upright, min_size=enough)
        down, across = image.shape[0] / height, image.shape[1] / width
        window = (top * down, left * across, h * down, w * across)
        return {"image": crop_lib.resample(image, self.size, window), "label": label}

    def _window(self, height: int, width: int, rng) -> crop_lib.Window:
        if self.crop == "random_resized":
            return crop_lib.random_resized_window(rng, height, width)
        if self.crop == "center":
            return crop_lib.center_window(height, width, self.size)
        return 0, 0, height, width


def image_loader(source: Source, image_size: int | tuple[int, int] | None, crop: str | None):
    """The `LoadImage` of a source, and whether its decoded images may be kept: (load, bytes).

    Returns:
        load, and the bytes that all its decoded images take, or None where they are random.

    Raises:
        DataError: the images differ in size and no size is given; an unknown crop.
    """
    if crop not in CROPS:
        raise DataError(f"crop {crop!r}: choose 'random_resized', 'center' or None")
    height, width, channels = source.image_shape
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is None and (height is None or width is None):
        raise DataError(f"the images of {source.name} differ in size: give an image_size")
    if size is None and crop:
        size = (height, width)
    if size and min(size) < 1:
        raise DataError(f"image_size {image_size}: wanted at least one pixel")
    rows, columns = size or (height, width)
    random = crop == "random_resized"
    return LoadImage(size, crop), None if random else len(source) * rows * columns * channels
