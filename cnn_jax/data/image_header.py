"""What the header of an image says, and which images are opened at all.

Images are not trusted: none beyond MAX_PIXELS is decoded, and a large one only from a file of
proportionate size, so that a few bytes cannot take a gigabyte. Formats that are programs (EPS, for
which Pillow starts Ghostscript), or that no data set uses, are not supported.
"""

import contextlib
import functools
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from cnn_jax.data import reading

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 178_956_970  # of one image: Pillow's own limit, half a gigabyte in RGB
FREE_PIXELS = 40_000_000  # that any file may claim; an A4 page at 600 dpi has 35 million
PIXELS_PER_BYTE = 10_000  # beyond that; deflate reaches 8,256 with one bit per pixel, JPEG 512

# What Pillow raises, besides ValueError and OSError, for malformed bytes.
_DAMAGED = (SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, RuntimeError,
            struct.error, zlib.error)  # fmt: skip

_BITS_PER_SAMPLE = 258  # a tag of TIFF
_EXIF_ORIENTATION = 0x0112  # the tag; 1 is upright, 5 to 8 lie on a side
_XMP_TURNED = re.compile(rb'tiff:Orientation(?:="|>)[2-8]')
_PNG_TAIL = 4096  # bytes at the end of a PNG where tools write EXIF behind the pixels


@contextlib.contextmanager
def open_image(image: bytes | Path) -> Iterator[ImageFile.ImageFile]:
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
            check_size(opened.height, opened.width, len(data))
            yield opened
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(f"{int(pixels[0]):,}" if pixels else "too many") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not an image of a supported format ({', '.join(_formats())})") from error
    except _DAMAGED as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


@contextlib.contextmanager
def open_header(file: Path) -> Iterator[ImageFile.ImageFile]:
    """Opens an image by its header: no more of the file is read, unless the block does it.

    Raises:
        ValueError or OSError: it is not an image, or claims to be too large.
    """
    if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would block
        raise ValueError("it is no regular file")
    try:
        with open(file, "rb") as stream, Image.open(stream, formats=_formats()) as opened:
            check_size(opened.height, opened.width, os.fstat(stream.fileno()).st_size)
            yield opened
    except Image.DecompressionBombError as error:
        raise _too_large("too many") from error
    except (UnidentifiedImageError, *_DAMAGED) as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


def read_header(file: Path) -> tuple[int, int, int]:
    """(width, height, EXIF orientation) of an image as it is stored, without its pixels.

    TIFFs are upright, see `size_of`.

    Raises:
        ValueError or OSError: it is not an image, or claims to be too large.
    """
    with open_header(file) as opened:
        # asking a PNG without it would decode its pixels
        known = opened.format != "PNG" or "exif" in opened.info or "xmp" in opened.info
        orientation = said_orientation(opened) if known or _ends_with_exif(file) else 1
        return *stored_size(opened), orientation


def stored_size(opened: ImageFile.ImageFile) -> tuple[int, int]:
    """(width, height) as they are stored; for a TIFF, before Pillow turns it."""
    if not isinstance(opened, TiffImagePlugin.TiffImageFile):
        return opened.size
    width, height = (int(opened.tag_v2[tag]) for tag in (256, 257))
    return width, height


def size_of(opened: ImageFile.ImageFile) -> tuple[int, int]:
    """(width, height) of the pixels that Pillow will give, before they are decoded.

    It turns a TIFF upright itself, and not all of its versions say so before.
    """
    width, height = stored_size(opened)
    turned = opened.format == "TIFF" and said_orientation(opened) >= 5
    return (height, width) if turned else (width, height)


class ImageHeader(NamedTuple):
    """What the header of an image says.

    Attributes:
        width, height: in pixels, as stored.
        orientation: how it is to be turned, as EXIF counts it, 1 to 8; 1 is upright.
        mode: Pillow's: 'L', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', ...
        depth: bits of a sample as stored.
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
            check_size(opened.height, opened.width, size)
            known = opened.format != "PNG" or "exif" in opened.info or "xmp" in opened.info
            turned = said_orientation(opened) if known or _tail_has_exif(stream, size) else 1
            return ImageHeader(
                *stored_size(opened), turned, opened.mode, _depth(opened), opened.format or ""
            )
    except Image.DecompressionBombError as error:
        raise _too_large("too many") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not an image of a supported format ({', '.join(_formats())})") from error
    except _DAMAGED as error:
        raise ValueError(f"a damaged image ({str(error) or type(error).__name__})") from error


def _depth(opened: ImageFile.ImageFile) -> int:
    """Bits of a sample as stored, which Pillow may reduce to 8: it reads 'RGB;16B' as RGB."""
    if opened.format == "TIFF":
        bits_of = opened.getexif().get(_BITS_PER_SAMPLE) or 1
        return max(bits_of) if isinstance(bits_of, tuple) else bits_of
    raw = str(opened.tile[0][-1]) if opened.format == "PNG" and opened.tile else opened.mode
    if bits := re.search(r";(\d+)", raw):
        return int(bits[1])
    if opened.mode == "I" and opened.format in ("PPM", "JPEG2000"):
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(opened.mode, 8)


def orientation_of(opened: Image.Image) -> int:
    """How an image is to be turned, as EXIF counts it, 1 to 8; 1 if it says nothing of sense.

    Pillow turns a TIFF itself. A PNG that has it behind its pixels is decoded first.
    """
    return 1 if opened.format == "TIFF" else said_orientation(opened)


def said_orientation(opened: Image.Image) -> int:
    try:
        orientation = opened.getexif().get(_EXIF_ORIENTATION, 1)
    except (ValueError, *_DAMAGED):  # metadata that cannot be read say nothing
        return 1
    return orientation if orientation in range(1, 9) else 1


def check_size(height: int, width: int, size: int) -> None:
    """Raises ValueError for too many pixels, in all or for a file of `size` bytes."""
    pixels = height * width
    if pixels > MAX_PIXELS:
        raise _too_large(f"{width}x{height} = {pixels:,}")
    if pixels > max(FREE_PIXELS, PIXELS_PER_BYTE * size):
        raise ValueError(
            f"it has {width}x{height} = {pixels:,} pixels, by its header, in {size:,} bytes: that "
            "is not believed. Save it again if it is an image"
        )


def is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def says_orientation(data: bytes, version: int) -> bool:
    """Whether a JPEG has EXIF, or is turned by XMP, so that its orientation is worth asking for.

    Args:
        version: of the pixel rule; the first looked for EXIF in 64 KiB alone.
    """
    if b"Exif\0\0" in data[:65536]:
        return True
    return version > 1 and any(
        segment.startswith(b"Exif\0\0") or _XMP_TURNED.search(segment)
        for segment in _application_segments(data)
    )


def _application_segments(data: bytes) -> Iterator[bytes]:
    """The contents of a JPEG's APP1 segments, where EXIF and XMP are; see ITU-T T.81, annex B."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker == 0xDA:  # the pixels begin
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1:
            yield data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _ends_with_exif(file: Path) -> bool:
    """Whether a PNG has EXIF behind its pixels, where some tools write it."""
    with open(file, "rb") as stream:
        return _tail_has_exif(stream, os.fstat(stream.fileno()).st_size)


def _tail_has_exif(stream: BinaryIO, size: int) -> bool:
    stream.seek(max(0, size - _PNG_TAIL))
    return b"eXIf" in stream.read()


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats of FORMATS that this Pillow supports."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _too_large(pixels: str) -> ValueError:
    return ValueError(
        f"it has {pixels} pixels, by its header, and at most {MAX_PIXELS:,} are read: make it "
        "smaller, or split it into tiles"
    )
