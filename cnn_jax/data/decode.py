"""Encoded images to uint8 [H, W, C]: JPEG, PNG and whatever else Pillow reads.

JPEGs are decoded by libjpeg-turbo through simplejpeg; everything else, and JPEGs in CMYK, by
Pillow. Both release the GIL, so that threads decode in parallel.
"""

import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from cnn_jax.data.errors import DataError

# channels -> what Pillow and simplejpeg call that layout
_PILLOW_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_JPEG_COLORSPACE = {1: "GRAY", 3: "RGB"}

_EXIF_ORIENTATION = 0x0112  # the tag; 1 is upright, 5 to 8 lie on a side


def read_image(image: bytes | Path) -> bytes:
    """The encoded bytes of a record's image, which may lie in a file.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the image {image}: {error.strerror or error}") from error


def decode_image(
    data: bytes,
    *,
    channels: int = 3,
    upright: bool = False,
    min_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decodes one image to `channels` channels of uint8.

    Colour becomes grey by ITU-R 601 luma; grey becomes colour by repetition; an alpha channel that
    is not asked for is dropped, not composited (as torchvision's and TensorFlow's readers do);
    sixteen-bit samples keep their high byte; of an animation, the first frame.

    Args:
        data: the encoded image.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        upright: turn the picture as its EXIF orientation says. Photographs in a folder want it;
            TFDS and torchvision do not do it.
        min_size: (height, width). A JPEG may come back at 1/2, 1/4 or 1/8 of its size, filtered in
            the DCT domain and so decoded faster, as long as it is at least this large.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ValueError, OSError or SyntaxError: the data is not an image, or is damaged.
    """
    if _is_jpeg(data) and channels in _JPEG_COLORSPACE and not (upright and _has_exif(data)):
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace in ("YCbCr", "RGB", "Gray"):
            return _decode_jpeg(data, channels, height, width, min_size)
    with Image.open(io.BytesIO(data)) as image:
        return _to_uint8(ImageOps.exif_transpose(image) if upright else image, channels)


def image_size(data: bytes, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) from the header alone, without decoding the pixels."""
    if _is_jpeg(data) and not (upright and _has_exif(data)):
        return simplejpeg.decode_jpeg_header(data)[:2]
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if upright and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
            width, height = height, width
        return height, width


def _is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def _has_exif(data: bytes) -> bool:
    return b"Exif\0\0" in data[:65536]  # a segment of at most 64 KiB, near the start


def _decode_jpeg(data, channels, height, width, min_size) -> np.ndarray:
    scale = {}
    if min_size and height >= 2 * min_size[0] and width >= 2 * min_size[1]:
        # A factor of at least 2 asks for 1/2, 1/4 or 1/8: the other fractions of libjpeg-turbo
        # (7/8, 3/8, ...) cost more than decoding at full size.
        scale = {"min_height": min_size[0], "min_width": min_size[1], "min_factor": 2}
    return simplejpeg.decode_jpeg(data, colorspace=_JPEG_COLORSPACE[channels], **scale)


def _to_uint8(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode.startswith("I"):  # 'I;16' and friends; older files say sixteen bits by 'I'
        high_byte = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(high_byte, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("a floating-point image: save it with 8 or 16 bits a sample")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != _PILLOW_MODE[channels]:
        image = image.convert(_PILLOW_MODE[channels])
    pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], channels)
