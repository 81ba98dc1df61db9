"""The input size of a network, windows of an image, and resampling them to that size.

Windows are (top, left, height, width) in pixels of the image, as floats.
"""

import math

import numpy as np
from PIL import Image

from cnn_jax.data.errors import DataError
from cnn_jax.data.types import Source

Window = tuple[float, float, float, float]

CENTER_FRACTION = 0.875  # 224 of 256: He et al. 2016 (arXiv 1512.03385), section 3.4
AREA_RANGE = (0.08, 1.0)  # fraction of the image's area: Szegedy 2015 (arXiv 1409.4842), section 6
RATIO_RANGE = (3 / 4, 4 / 3)  # width / height, from the same section


def parse_size(text: str) -> tuple[int, int] | None:
    """'256' -> (256, 256); '360x480' -> (360, 480), height first; '' -> None.

    Raises:
        DataError: anything else.
    """
    if not text:
        return None
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise DataError(f"image_size={text}: wanted '256', or HEIGHTxWIDTH such as '360x480'.")
    return int(sides[0]), int(sides[-1])


def sizes_differ(source: Source) -> DataError:
    """The error for images of several sizes without one to bring them to."""
    return DataError(
        f"the images of {source.name} may differ in size: give one for all, such as image_size=224"
    )


def random_resized_window(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    area_range: tuple[float, float] = AREA_RANGE,
    ratio_range: tuple[float, float] = RATIO_RANGE,
) -> Window:
    """A window of random area and aspect ratio, at a random place: the "Inception" crop.

    The area is uniform in `area_range`, the ratio log-uniform in `ratio_range`. After ten windows
    that do not fit, it is the largest central window with an allowed ratio. Source: Szegedy et al.
    2015, arXiv 1409.4842, section 6.
    """
    low, high = math.log(ratio_range[0]), math.log(ratio_range[1])
    for _ in range(10):
        area = height * width * rng.uniform(*area_range)
        ratio = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return int(top), int(left), h, w
    ratio = min(max(width / height, ratio_range[0]), ratio_range[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def center_window(
    height: int, width: int, size: tuple[int, int], *, fraction: float = CENTER_FRACTION
) -> Window:
    """The central window with the aspect ratio of `size`, `fraction` of the largest that fits.

    Resampled to `size` this is "resize the shorter side to size / fraction, crop the centre".
    """
    scale = fraction * min(height / size[0], width / size[1])
    h, w = scale * size[0], scale * size[1]
    return (height - h) / 2, (width - w) / 2, h, w


def resample(image: np.ndarray, size: tuple[int, int], window: Window | None = None) -> np.ndarray:
    """Resamples a window of the image: bilinear, and antialiased when shrinking.

    Args:
        image: uint8 [H, W, C], C from 1 to 4.
        size: (height, width) of the result.
        window: the window to resample; the whole image by default.

    Returns:
        uint8 [*size, C]; the image itself if nothing changes.
    """
    height, width, channels = image.shape
    top, left, h, w = window or (0, 0, height, width)
    if (top, left, h, w) == (0, 0, *size) and (height, width) == tuple(size):
        return image
    stored = Image.fromarray(image[..., 0] if channels == 1 else image)
    box = (max(left, 0), max(top, 0), min(left + w, width), min(top + h, height))
    pixels = np.asarray(stored.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))
    return pixels.reshape(*size, channels)
