"""Images as a caller has them: in a file, as an image of Pillow, or as an array."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cnn_jax.data.decode import decode_image

Input = str | os.PathLike[str] | Image.Image | np.ndarray

_NO_PNG = ("CMYK", "YCbCr", "HSV", "LAB")  # Pillow's modes of colour that PNG does not have


def image_of(given: Any) -> Image.Image:
    """An upright RGB image, with the pixels that a loader would give it.

    Args:
        given: the path of a file, an image of Pillow, or pixels: uint8 [H, W], [H, W, 1] or
            [H, W, 3], in 0..255.

    Raises:
        ValueError: it is none of these, or cannot be read.
    """
    if isinstance(given, (str, os.PathLike)):
        return _of_file(os.fspath(given))
    if isinstance(given, Image.Image):
        return Image.fromarray(_pixels_of(ImageOps.exif_transpose(given)))
    return Image.fromarray(_checked(given)).convert("RGB")


def is_several(given: Any, rank: int) -> bool:
    """Whether several inputs are given: a sequence, or an array of one axis more than `rank`."""
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        return True
    return hasattr(given, "ndim") and given.ndim == rank + 1


def _of_file(path: str) -> Image.Image:
    if not Path(path).exists():
        raise ValueError(f"There is no image {path}.")
    try:
        return Image.fromarray(decode_image(Path(path), channels=3, upright=True))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}).") from error


def _pixels_of(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3], as of a file with this image."""
    if image.mode == "F":
        raise ValueError("The image has floating-point pixels: wanted 8 or 16 bits a sample.")
    encoded = io.BytesIO()
    (image.convert("RGB") if image.mode in _NO_PNG else image).save(
        encoded, "PNG", compress_level=0
    )
    return decode_image(encoded.getvalue(), channels=3)


def _checked(given: Any) -> np.ndarray:
    """Pixels, uint8 [H, W] or [H, W, 3].

    Raises:
        ValueError: it has another type or shape.
    """
    array = np.asarray(given)
    if array.dtype != np.uint8:
        raise ValueError(
            f"An image is an array of {array.dtype}; wanted uint8, pixels in 0..255. Of values x "
            "in 0..1 it is (255 * x).round().astype('uint8')."
        )
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3) or not array.size:
        raise ValueError(
            f"An image has the shape {np.shape(given)}; wanted (height, width), or that and 1 or 3 "
            "channels."
        )
    return array
