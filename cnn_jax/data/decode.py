"""Encoded images to uint8 [H, W, C]: the formats of FORMATS.

JPEGs are decoded by libjpeg-turbo through simplejpeg; everything else, and JPEGs in CMYK, by
Pillow. Both release the GIL, so that threads decode in parallel.

What an image claims to be is not believed: beyond MAX_PIXELS none is decoded, and a large one only
from a file in proportion to it, so that a few bytes cannot take a gigabyte. Formats that are
programs (EPS, for which Pillow starts Ghostscript) or that no data set has are not looked for.
"""

import contextlib
import functools
import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from cnn_jax.data import reading

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 178_956_970  # of one image: Pillow's own limit, half a gigabyte of RGB
FREE_PIXELS = 40_000_000  # that any file may claim: a blank page of A4 at 600 dots an inch has 35
PIXELS_PER_BYTE = 10_000  # beyond; deflate reaches 8,256 with one bit a pixel, JPEG 512

# What Pillow raises, beside ValueError and OSError, where the bytes are not what they claim to be.
_DAMAGED = (SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, RuntimeError,
            struct.error, zlib.error)  # fmt: skip

# channels -> what Pillow and simplejpeg call that layout
_PILLOW_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_JPEG_COLORSPACE = {1: "GRAY", 3: "RGB"}

_EXIF_ORIENTATION = 0x0112  # the tag; 1 is upright, 5 to 8 lie on a side


def read_image(image: bytes | Path) -> bytes:
    """The encoded bytes of a record's image, which may lie in a file.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    return image if isinstance(image, bytes) else reading.read_bytes(image, "image")


@contextlib.contextmanager
def open_image(image: bytes | Path) -> Iterator[Image.Image]:
    """Pillow's image, its header read and its pixels not yet.

    Args:
        image: encoded bytes, or a file of them.

    Raises:
        ValueError: here, or where it is decoded within the block: no image of FORMATS, damaged, of
            more than MAX_PIXELS, or of far more than its bytes can hold.
        OSError: truncated.
        DataError: the file cannot be read; the message names it.
    """
    data = read_image(image)
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as opened:
            _check_size(opened.height, opened.width, len(data))
            yield opened
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(f"{int(pixels[0]):,}" if pixels else "too many") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"no image of a kind that is read ({', '.join(_formats())})") from error
    except _DAMAGED as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(height: int, width: int, size: int) -> None:
    """Raises ValueError where so many pixels are not read, or not from a file of `size` bytes."""
    pixels = height * width
    if pixels > MAX_PIXELS:
        raise _too_large(f"{width}x{height} = {pixels:,}")
    if pixels > max(FREE_PIXELS, PIXELS_PER_BYTE * size):
        raise ValueError(
            f"it has {width}x{height} = {pixels:,} pixels, by its header, in {size:,} bytes: that "
            "is not believed. Save it again if it is an image"
        )


def _too_large(pixels: str) -> ValueError:
    return ValueError(
        f"it has {pixels} pixels, by its header, and at most {MAX_PIXELS:,} are read: make it "
        "smaller, or cut it into pieces"
    )


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
        ValueError or OSError: the data is not an image, is damaged, or claims to be too large.
    """
    if _is_jpeg(data) and channels in _JPEG_COLORSPACE and not (upright and _has_exif(data)):
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, len(data))
        if colorspace in ("YCbCr", "RGB", "Gray"):
            return _decode_jpeg(data, channels, height, width, min_size)
    with open_image(data) as image:
        return _to_uint8(ImageOps.exif_transpose(image) if upright else image, channels)


def image_size(data: bytes, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) from the header alone, without decoding the pixels."""
    if _is_jpeg(data) and not (upright and _has_exif(data)):
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        _check_size(height, width, len(data))
        return height, width
    with open_image(data) as image:
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
