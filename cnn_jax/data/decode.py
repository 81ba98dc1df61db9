"""Encoded image bytes to a uint8 array [H, W, C]: JPEG, PNG and whatever else Pillow reads.

JPEGs are decoded by libjpeg-turbo (simplejpeg), twice as fast as Pillow does; everything else, and
JPEGs in CMYK, by Pillow. Both release the GIL, so threads decode in parallel.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

# channels -> the name that Pillow and simplejpeg give to that layout
_PILLOW_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_JPEG_COLORSPACE = {1: "GRAY", 3: "RGB"}


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
    sixteen-bit samples keep their high byte.

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
        ValueError or OSError: the data is not an image, or is damaged.
    """
    if data[:2] == b"\xff\xd8" and channels in _JPEG_COLORSPACE:
        if not (upright and b"Exif\0\0" in data[:65536]):
            height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
            if colorspace in ("YCbCr", "RGB", "Gray"):
                return _decode_jpeg(data, channels, height, width, min_size)
    with Image.open(io.BytesIO(data)) as image:
        if upright:
            image = ImageOps.exif_transpose(image)
        return _to_uint8(image, channels)


def image_size(data: bytes, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) from the header alone, without decoding the pixels."""
    if data[:2] == b"\xff\xd8" and not (upright and b"Exif\0\0" in data[:65536]):
        return simplejpeg.decode_jpeg_header(data)[:2]
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if upright and image.getexif().get(0x0112, 1) >= 5:  # orientations 5 to 8 lie on a side
            width, height = height, width
        return height, width


def _decode_jpeg(data, channels, height, width, min_size):
    fits = min_size and height >= 2 * min_size[0] and width >= 2 * min_size[1]
    # A factor of at least 2 asks for 1/2, 1/4 or 1/8: the other fractions of libjpeg-turbo (7/8,
    # 3/8, ...) have no SIMD code, and cost more than decoding at full size.
    scale = dict(min_height=min_size[0], min_width=min_size[1], min_factor=2) if fits else {}
    return simplejpeg.decode_jpeg(data, colorspace=_JPEG_COLORSPACE[channels], **scale)


def _to_uint8(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode.startswith("I"):  # 'I;16' and friends; 'I' is how older files say sixteen bits
        high = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(high, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point images are not supported: save them with 8 or 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != _PILLOW_MODE[channels]:
        image = image.convert(_PILLOW_MODE[channels])
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], channels)
