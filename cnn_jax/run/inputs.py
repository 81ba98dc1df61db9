"""Images as a caller has them: in a file, as an image of Pillow, or as an array."""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cnn_jax.data.decode import Stored, decode_image
from cnn_jax.data.pixel_rule import CURRENT, PixelRule

_WANTED = (
    "wanted a path, a file opened for reading bytes, an image of Pillow, or pixels: uint8 or "
    "uint16 [H, W], [H, W, 1] or [H, W, 3]"
)
# Pillow's modes that a PNG has, and what others become; all not named here become RGB.
_IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")
_BECOMES = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}


def stored(given: Any) -> Stored:
    """An image as a record holds it, so that a loader gives the pixels that it gives in training.

    Args:
        given: the path of a file, such a file opened for reading or its bytes, an image of Pillow,
            or pixels: uint8 or uint16 [H, W], [H, W, 1] or [H, W, 3].

    Returns:
        The path of a file or the bytes of one, or pixels [H, W, 1] or [H, W, 3] of that type.

    Raises:
        ValueError: it is none of these; the message says what it is.
    """
    if isinstance(given, (str, os.PathLike)):
        return _existing(os.fspath(given))
    if isinstance(given, (bytes, bytearray)):
        return bytes(given)
    if isinstance(given, Image.Image):
        with reading(given):
            return _encoded(given)
    if hasattr(given, "read"):
        return _read(given)
    return _checked(given)


def pixels_of(given: Any, channels: int, rule: PixelRule = CURRENT) -> np.ndarray:
    """The pixels of an upright image: uint8 [H, W, channels].

    Args:
        given: see `stored`.
        channels: 1 for grey, 3 for colour.
        rule: the pixel rule of the run: `Facts.pixels`.

    Raises:
        ValueError: it is no image, or cannot be read.
    """
    image = stored(given)
    with reading(given):
        return decode_image(image, channels=channels, upright=True, rule=rule)


def image_of(given: Any, rule: PixelRule = CURRENT) -> Image.Image:
    """An upright RGB image, of what `stored` takes, by the pixel rule of the run."""
    return Image.fromarray(pixels_of(given, 3, rule))


@contextlib.contextmanager
def reading(given: Any) -> Iterator[None]:
    """Within the block, what cannot be decoded is a ValueError that names the image."""
    try:
        yield
    except (ValueError, OSError) as error:
        path = isinstance(given, (str, os.PathLike))
        name = os.fspath(given) if path else "The image"
        raise ValueError(f"{name} cannot be read as an image ({error}).") from error


def is_several(given: Any, rank: int) -> bool:
    """Whether several inputs are given: a sequence, or an array of one axis more than `rank`."""
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        return False
    return isinstance(given, Sequence) or getattr(given, "ndim", None) == rank + 1


def _existing(path: str | bytes) -> Path:
    text = os.fsdecode(path)
    # what no file system takes, such as a name with a null byte, is not there either
    if not text or not Path(text).exists():
        raise ValueError(f"There is no image {text or repr(text)}.")
    return Path(text)


def _read(file: Any) -> bytes:
    data = file.read()
    if not isinstance(data, bytes):
        raise ValueError("The file is opened as text: open it with mode 'rb'.")
    if not data:
        raise ValueError("The file has nothing left to read: seek(0) goes back to its beginning.")
    return data


def _encoded(image: Image.Image) -> bytes:
    """A PNG of this image, upright."""
    if image.mode == "F":
        raise ValueError("it has floating-point pixels: wanted 8 or 16 bits a sample")
    if not (image.width and image.height):
        raise ValueError(f"it has {image.width}x{image.height} pixels")
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "I":
        upright = _in_sixteen_bits(upright)
    elif upright.mode not in _IN_PNG:
        upright = upright.convert(_BECOMES.get(upright.mode, "RGB"))
    encoded = io.BytesIO()
    upright.save(encoded, "PNG", compress_level=0)
    return encoded.getvalue()


def _in_sixteen_bits(image: Image.Image) -> Image.Image:
    """An image of 32-bit whole numbers, as Pillow 10 gives those of 16 bits, in 16 bits."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(
            f"it has 32-bit pixels from {values.min()} to {values.max()}: wanted 8 or 16 bits a "
            "sample"
        )
    return Image.fromarray(values.astype(np.uint16))


def _checked(given: Any) -> np.ndarray:
    """Pixels, uint8 or uint16 [H, W, 1] or [H, W, 3].

    Raises:
        ValueError: it is no array, or has another type or shape.
    """
    if not hasattr(given, "__array__") and not isinstance(given, memoryview):
        hint = ". Make a list of it: list(...)" if isinstance(given, Iterator) else ""
        raise ValueError(f"An image is given as {type(given).__name__}; {_WANTED}{hint}.")
    if np.ma.is_masked(given):
        raise ValueError("An image has masked pixels: fill them, image.filled(0).")
    array = np.asarray(given)
    if array.dtype not in (np.uint8, np.uint16):
        hint = ""
        if array.dtype.kind == "f":
            hint = " Of values x in 0..1 it is (255 * x).round().astype('uint8')."
        raise ValueError(
            f"An image is an array of {array.dtype}; wanted uint8, pixels in 0..255.{hint}"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3) or not array.size:
        raise ValueError(
            f"An image has the shape {np.shape(given)}; wanted (height, width), or that and 1 or 3 "
            f"channels.{_hint(array.shape)}"
        )
    return array


def _hint(shape: tuple[int, ...]) -> str:
    """What may have been meant by pixels of another shape."""
    if len(shape) == 3 and shape[0] in (1, 3):
        return " Channels come last: image.transpose(1, 2, 0)."
    if len(shape) == 3 and shape[-1] in (2, 4):
        return " Leave its alpha channel out."
    if len(shape) == 3:
        return " Several images have the shape (number, height, width, channels)."
    return ""
