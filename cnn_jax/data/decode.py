"""Pixels of images: `decode_image` and `decode_mask`, for every loader and for prediction.

Images of the formats `image_header.FORMATS` become uint8 [H, W, C] by the rule that
`cnn_jax.data.pixel_rule` states.

JPEGs are decoded by libjpeg-turbo through simplejpeg, with the pixels of Pillow's; everything else,
JPEGs in CMYK, and those that simplejpeg does not read, by Pillow. Both release the GIL, so that
threads decode in parallel.
"""

import re
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageFile

from cnn_jax.data import deep_samples, image_header, reading
from cnn_jax.data.image_header import check_size, is_jpeg, open_image
from cnn_jax.data.orientation import turn_pixels
from cnn_jax.data.pixel_rule import CURRENT, PixelRule, shifted

# channels -> Pillow's and simplejpeg's name of that mode
_PILLOW_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_JPEG_COLORSPACE = {1: "GRAY", 3: "RGB"}

# libjpeg's warnings of pixels that are missing; of others, such as bytes that are too many, Pillow
# says nothing
_PIXELS_MISSING = re.compile(
    "Premature end|premature end|bad Huffman code|bad arithmetic code|found marker .* instead"
)

# An image as a record holds it: encoded, a file of that, or pixels uint8 or uint16 [H, W, C].
Stored = bytes | Path | np.ndarray


def read_image(image: Stored) -> bytes | np.ndarray:
    """A record's image in memory: what is in a file is read, still encoded.

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    return reading.read_bytes(image, "image") if isinstance(image, Path) else image


def decode_image(
    image: Stored,
    *,
    channels: int = 3,
    upright: bool = False,
    min_size: tuple[int, int] | None = None,
    rule: PixelRule = CURRENT,
) -> np.ndarray:
    """The pixels of an image, in `channels` channels of uint8, by `cnn_jax.data.pixel_rule`.

    Args:
        image: the image, encoded or as pixels uint8 or uint16 [H, W, C], which are upright as they
            are.
        channels: 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA.
        upright: whether to rotate the image as its EXIF orientation says. Photographs in a folder
            need it; TFDS and torchvision do not do it.
        min_size: (height, width). A JPEG may be returned at 1/2, 1/4 or 1/8 of its size, filtered
            in the DCT domain and so decoded faster, as long as it is at least this large.
        rule: the rule of the run, or of the set.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ValueError or OSError: it is not an image, is damaged, claims to be too large, or has values
            for which there is no rule.
        DataError: the file cannot be read; the message names it.
    """
    data = read_image(image)
    if isinstance(data, np.ndarray):
        return _pixels(data, channels, rule)
    if is_jpeg(data) and channels in _JPEG_COLORSPACE:
        turned = upright and image_header.says_orientation(data, rule.version)
        if not turned:
            decoded = _decode_jpeg(data, _JPEG_COLORSPACE[channels], min_size)
            if decoded is not None:
                return decoded
        elif rule.version > 1:
            decoded = _decode_turned_jpeg(data, channels)
            if decoded is not None:
                return decoded
    with open_image(data) as opened:
        pixels = _by_pillow(opened, data, channels, rule)
        if upright:
            pixels = np.ascontiguousarray(turn_pixels(pixels, image_header.orientation_of(opened)))
        return pixels


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
            if mode == "P" and opened.format == "GIF":
                values = _greys(values, opened.getpalette() or [])
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


def _greys(indices: np.ndarray, palette: list[int]) -> np.ndarray:
    """The values of a grey GIF, whose indices are those of the program that wrote it."""
    colours = np.array(palette, np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if used.max(initial=0) >= len(colours) or np.ptp(colours[used], axis=1).any():
        raise ValueError(
            "its mask is a GIF in colour, whose palette is ordered anew by programs that save it: "
            "save masks as PNG, from what they were made of"
        )
    return colours[indices, 0]


def image_size(
    image: Stored, *, upright: bool = False, rule: PixelRule = CURRENT
) -> tuple[int, int]:
    """(height, width) from the header alone, without decoding the pixels."""
    data = read_image(image)
    if isinstance(data, np.ndarray):
        return data.shape[0], data.shape[1]
    if is_jpeg(data) and not (upright and image_header.says_orientation(data, rule.version)):
        header = _jpeg_header(data)
        if header is not None:
            return header[:2]
    with open_image(data) as opened:
        width, height = image_header.size_of(opened)
        if upright and image_header.orientation_of(opened) >= 5:
            width, height = height, width
        return height, width


def _jpeg_header(data: bytes) -> tuple[int, int, str] | None:
    """(height, width, colour space) of a JPEG; None if simplejpeg does not know its kind."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # such as unusual sampling
        return None
    check_size(height, width, len(data))
    return height, width, colorspace


def _decode_jpeg(
    data: bytes, colorspace: str, min_size: tuple[int, int] | None = None
) -> np.ndarray | None:
    """The pixels of a JPEG in a colour space of simplejpeg's, as stored; None if Pillow is asked.

    Raises:
        ValueError: pixels are missing.
    """
    header = _jpeg_header(data)
    if header is None or header[2] not in ("YCbCr", "RGB", "Gray"):
        return None
    height, width, _ = header
    scale = {}
    if min_size and height >= 2 * min_size[0] and width >= 2 * min_size[1]:
        # only 1/2, 1/4 or 1/8: libjpeg-turbo's other fractions (7/8, 3/8, ...) cost more than
        # decoding at full size
        scale = {"min_height": min_size[0], "min_width": min_size[1], "min_factor": 2}
    try:
        return simplejpeg.decode_jpeg(data, colorspace=colorspace, **scale)
    except ValueError as error:
        if _PIXELS_MISSING.search(str(error)):
            raise
        return None


def _decode_turned_jpeg(data: bytes, channels: int) -> np.ndarray | None:
    """The upright pixels of a JPEG that says how it lies; None if Pillow is asked.

    Their grey is the luma of their colours, as Pillow's, in which all such images once were
    decoded: runs of that time go on with the same pixels.
    """
    header = _jpeg_header(data)
    if header is None:
        return None
    pixels = _decode_jpeg(data, "GRAY" if header[2] == "Gray" else "RGB")
    if pixels is None:
        return None
    with open_image(data) as opened:
        upright = turn_pixels(pixels, image_header.orientation_of(opened))
    return _pixels(np.ascontiguousarray(upright), channels, CURRENT)


def _pixels(image: np.ndarray, channels: int, rule: PixelRule) -> np.ndarray:
    """Pixels that a record holds, in `channels` channels."""
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim != 3
        or (image.shape[2] not in _PILLOW_MODE)
    ):
        raise ValueError(
            f"pixels {image.dtype} {list(image.shape)}: wanted uint8 [height, width, channels]"
        )
    if image.dtype == np.uint16:
        image = shifted(image, rule, alpha=image.shape[2] in (2, 4))
    if image.shape[2] == channels:
        return image
    grey = image.shape[2] == 1
    return _in_channels(Image.fromarray(image[..., 0] if grey else image), channels)


def _by_pillow(
    opened: ImageFile.ImageFile, data: bytes, channels: int, rule: PixelRule
) -> np.ndarray:
    """The pixels of an image as it is stored."""
    if opened.mode == "F":
        raise ValueError("a floating-point image: save it with 8 or 16 bits a sample")
    if rule.version > 1 and deep_samples.is_deep(opened):
        samples, mode = deep_samples.values(opened, data)
        height, width = samples.shape[:2]
        of_bytes = shifted(samples, rule, alpha=mode in deep_samples.WITH_ALPHA)
        image = Image.frombytes(mode, (width, height), of_bytes.tobytes())
        return _in_channels(image, channels)
    if opened.mode.startswith("I"):  # 'I;16' and the like; older files use 'I' for sixteen bits
        return _in_channels(Image.fromarray(shifted(np.asarray(opened), rule)), channels)
    if opened.mode == "P" and "transparency" in opened.info:
        return _in_channels(opened.convert("RGBA"), channels)
    return _in_channels(opened, channels)


def _in_channels(image: Image.Image, channels: int) -> np.ndarray:
    if image.mode != _PILLOW_MODE[channels]:
        image = image.convert(_PILLOW_MODE[channels])
    pixels = np.array(image)
    return pixels.reshape(*pixels.shape[:2], channels)
