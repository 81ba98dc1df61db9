"""Pixels of images: `decode_image` and `decode_mask`, for every loader and for prediction.

Images of the formats FORMATS become uint8 [H, W, C].

JPEGs are decoded by libjpeg-turbo through simplejpeg; everything else, and JPEGs in CMYK, by
Pillow. Both release the GIL, so that threads decode in parallel.

Images are not trusted: none beyond MAX_PIXELS is decoded, and a large one only from a file of
proportionate size, so that a few bytes cannot take a gigabyte. Formats that are programs (EPS, for
which Pillow starts Ghostscript), or that no data set uses, are not supported.
"""

import contextlib
import functools
import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from cnn_jax.data import reading

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 178_956_970  # of one image: Pillow's own limit, half a gigabyte in RGB
FREE_PIXELS = 40_000_000  # that any file may claim; an A4 page at 600 dpi has 35 million
PIXELS_PER_BYTE = 10_000  # beyond that; deflate reaches 8,256 with one bit per pixel, JPEG 512

# What Pillow raises, besides ValueError and OSError, for malformed bytes.
_DAMAGED = (SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, RuntimeError,
            struct.error, zlib.error)  # fmt: skip

# channels -> Pillow's and simplejpeg's name of that mode
_PILLOW_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_JPEG_COLORSPACE = {1: "GRAY", 3: "RGB"}

_BITS_PER_SAMPLE = 258  # a tag of TIFF
_EXIF_ORIENTATION = 0x0112  # the tag; 1 is upright, 5 to 8 lie on a side

# An image as a record holds it: encoded, a file of that, or pixels uint8 [H, W, C].
Stored = bytes | Path | np.ndarray


def read_image(image: Stored) -> bytes | np.ndarray:
    """A record's image in memory: what is in a file is read, still encoded.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    return reading.read_bytes(image, "image") if isinstance(image, Path) else image


@contextlib.contextmanager
def open_image(image: bytes | Path) -> Iterator[Image.Image]:
    """Opens Pillow's image; only its header is read yet.

    Args:
        image: encoded bytes, or a file of them.

    Raises:
        ValueError: the image has none of FORMATS, is damaged, has more than MAX_PIXELS, or far more
            than its bytes can hold; also raised by decoding within the block.
        OSError: the image is truncated.
        DataError: the file cannot be read; the message names it.
    """
    data = reading.read_bytes(image, "image") if isinstance(image, Path) else image
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as opened:
            _check_size(opened.height, opened.width, len(data))
            yield opened
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(f"{int(pixels[0]):,}" if pixels else "too many") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not an image of a supported format ({', '.join(_formats())})") from error
    except _DAMAGED as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats of FORMATS that this Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(height: int, width: int, size: int) -> None:
    """Raises ValueError for too many pixels, in all or for a file of `size` bytes."""
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
        "smaller, or split it into tiles"
    )


def decode_image(
    image: Stored,
    *,
    channels: int = 3,
    upright: bool = False,
    min_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The pixels of an image, in `channels` channels of uint8.

    Colour becomes grey by ITU-R 601 luma; grey becomes colour by repetition; an alpha channel that
    is not requested is dropped, not composited (as torchvision's and TensorFlow's readers do);
    sixteen-bit samples keep their high byte; an animation gives its first frame.

    Args:
        image: the image, encoded or as pixels uint8 [H, W, C], which are upright as they are.
        channels: 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA.
        upright: whether to rotate the image as its EXIF orientation says. Photographs in a folder
            need it; TFDS and torchvision do not do it.
        min_size: (height, width). A JPEG may be returned at 1/2, 1/4 or 1/8 of its size, filtered
            in the DCT domain and so decoded faster, as long as it is at least this large.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ValueError or OSError: it is not an image, is damaged, or claims to be too large.
        DataError: the file cannot be read; the message names it.
    """
    data = read_image(image)
    if isinstance(data, np.ndarray):
        return _pixels(data, channels)
    if _is_jpeg(data) and channels in _JPEG_COLORSPACE and not (upright and _has_exif(data)):
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, len(data))
        if colorspace in ("YCbCr", "RGB", "Gray"):
            return _decode_jpeg(data, channels, height, width, min_size)
    with open_image(data) as opened:
        return _to_uint8(ImageOps.exif_transpose(opened) if upright else opened, channels)


def decode_mask(mask: Stored) -> np.ndarray:
    """The values of a mask, uint8 [H, W]: as they are stored, a palette's indices included.

    Raises:
        ValueError: the mask is not an image, is in colour, or has values above 255.
        DataError: the file cannot be read; the message names it.
    """
    stored = read_image(mask)
    if isinstance(stored, np.ndarray):
        values, mode = stored[..., 0] if stored.ndim == 3 else stored, ""
    else:
        with open_image(stored) as opened:
            values, mode = np.asarray(opened), opened.mode
    if mode == "LA":  # grey that was saved with an alpha channel
        values = values[..., 0]
    elif values.ndim == 3 and mode not in ("RGB", "RGBA"):
        raise ValueError(f"its mask is in {mode}: wanted a palette or grey image")
    if values.ndim == 3:  # grey that was saved as colour is accepted
        if np.any(values[..., :3] != values[..., :1]):
            raise ValueError(
                "its mask is in colour: wanted a palette or grey image whose values are classes"
            )
        values = values[..., 0]
    if values.dtype != np.uint8 and values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"its mask has the value {values.max()}: wanted at most 255")
    if values.dtype.kind == "f" and np.any(values != np.floor(values)):
        raise ValueError("its mask has fractional values, which are not classes")
    return values.astype(np.uint8)


def image_size(image: Stored, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) from the header alone, without decoding the pixels."""
    data = read_image(image)
    if isinstance(data, np.ndarray):
        return data.shape[0], data.shape[1]
    if _is_jpeg(data) and not (upright and _has_exif(data)):
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        _check_size(height, width, len(data))
        return height, width
    with open_image(data) as opened:
        width, height = opened.size
        if upright and opened.getexif().get(_EXIF_ORIENTATION, 1) >= 5:
            width, height = height, width
        return height, width


def read_header(file: Path) -> tuple[int, int, int]:
    """(width, height, EXIF orientation) of an image as it is stored; no more of it is read.

    Raises:
        ValueError or OSError: it is not an image, or claims to be too large.
    """
    with open(file, "rb") as stream:
        found = header_of(stream, os.fstat(stream.fileno()).st_size)
    return found.width, found.height, found.orientation


class ImageHeader(NamedTuple):
    """What the header of an image says.

    Attributes:
        width, height: in pixels, as stored.
        orientation: EXIF's, 1 to 8; 1 is upright.
        mode: Pillow's: 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', ...
        depth: bits of a sample.
        format: one of FORMATS.
    """

    width: int
    height: int
    orientation: int
    mode: str
    depth: int
    format: str


def header_of(stream: BinaryIO, size: int) -> ImageHeader:
    """The header of an image in a stream of `size` bytes; no more of it is read.

    Raises:
        ValueError or OSError: it is not an image, or claims to be too large.
    """
    try:
        with Image.open(stream, formats=_formats()) as opened:
            _check_size(opened.height, opened.width, size)
            # asking a PNG without it would decode its pixels
            known = "exif" in opened.info or opened.format == "TIFF"
            turned = opened.getexif().get(_EXIF_ORIENTATION, 1) if known else 1
            return ImageHeader(
                *opened.size,
                turned if turned in range(1, 9) else 1,
                opened.mode,
                _depth(opened),
                opened.format or "",
            )
    except Image.DecompressionBombError as error:
        raise _too_large("too many") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not an image of a supported format ({', '.join(_formats())})") from error
    except _DAMAGED as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


def _depth(opened: Image.Image) -> int:
    """Bits of a sample as stored, which Pillow may reduce to 8: it reads 'RGB;16B' as RGB."""
    if opened.format == "TIFF":
        bits_of = opened.getexif().get(_BITS_PER_SAMPLE) or 1
        return max(bits_of) if isinstance(bits_of, tuple) else bits_of
    tiles = getattr(opened, "tile", None)
    raw = str(tiles[0][-1]) if opened.format == "PNG" and tiles else opened.mode
    if bits := re.search(r";(\d+)", raw):
        return int(bits[1])
    if opened.mode == "I" and opened.format in ("PPM", "JPEG2000"):
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(opened.mode, 8)


def _is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def _has_exif(data: bytes) -> bool:
    return b"Exif\0\0" in data[:65536]  # a segment of at most 64 KiB, near the start


def _decode_jpeg(data, channels, height, width, min_size) -> np.ndarray:
    scale = {}
    if min_size and height >= 2 * min_size[0] and width >= 2 * min_size[1]:
        # only 1/2, 1/4 or 1/8: libjpeg-turbo's other fractions (7/8, 3/8, ...) cost more than
        # decoding at full size
        scale = {"min_height": min_size[0], "min_width": min_size[1], "min_factor": 2}
    return simplejpeg.decode_jpeg(data, colorspace=_JPEG_COLORSPACE[channels], **scale)


def _pixels(image: np.ndarray, channels: int) -> np.ndarray:
    """Pixels that a record holds, in `channels` channels."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in _PILLOW_MODE:
        raise ValueError(
            f"pixels {image.dtype} {list(image.shape)}: wanted uint8 [height, width, channels]"
        )
    if image.shape[2] == channels:
        return image
    grey = image.shape[2] == 1
    return _to_uint8(Image.fromarray(image[..., 0] if grey else image), channels)


def _to_uint8(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode.startswith("I"):  # 'I;16' and the like; older files use 'I' for sixteen bits
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
