"""Images of more than 8 bits a sample: their values, and how many bits those of a set hold.

Pillow gives the values of grey images; of colour it gives the high byte of each. The low bytes are
read by decoding once more with the bytes of a sample swapped.
"""

import concurrent.futures
import contextlib
import logging
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageFile

from cnn_jax.data.image_header import is_jpeg, open_header, open_image
from cnn_jax.data.pixel_rule import bits_of
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SAMPLE = 64  # images whose headers are looked at
MOST = 512  # images whose values are, if one of these is deep
_THREADS = 8

WITH_ALPHA = ("LA", "RGBA")  # modes whose last channel is mostly opaque, whatever the others hold

_NATIVE = "16L" if sys.byteorder == "little" else "16B"
_SWAPPED = {"16L": "16B", "16B": "16L"}


def is_deep(opened: ImageFile.ImageFile) -> bool:
    """Whether an image that is opened and not yet decoded has more than 8 bits a sample."""
    return opened.mode.startswith("I") or ";16" in _raw_mode(opened)


def values(opened: ImageFile.ImageFile, data: bytes) -> tuple[np.ndarray, str]:
    """The samples of a deep image, whole numbers [H, W] or [H, W, C], and Pillow's mode of them.

    Args:
        opened: the image, not decoded yet.
        data: its encoded bytes.

    Raises:
        ValueError: the samples cannot be read.
    """
    if opened.mode.startswith("I"):
        samples = np.asarray(opened)
        return samples.astype(samples.dtype.newbyteorder("=")), "L"
    raw, mode = _raw_mode(opened), opened.mode
    if raw == "LA;16B":
        with open_image(_as_four_bytes(data)) as bytewise:
            high_low = np.asarray(bytewise).astype(np.uint16)  # [H, W, 4]
        return high_low[..., ::2] << 8 | high_low[..., 1::2], "LA"
    name, _, order = raw.partition(";")
    low = f"{name};{_SWAPPED[_NATIVE if order == '16N' else order]}"
    high = np.asarray(opened).astype(np.uint16)
    try:
        with open_image(data) as again:
            again.tile = [_with_raw_mode(tile, low) for tile in again.tile]
            return high << 8 | np.asarray(again), mode
    except (ValueError, OSError) as error:
        raise ValueError(
            f"its colours have 16 bits a sample, in a form that is not read ({raw}): save it as "
            "PNG, or with 8 bits"
        ) from error


def bits_of_set(source: Source, dataset: str) -> int:
    """The bits that the images of a set hold, by a sample: see `PixelRule.bits`.

    Images that cannot be read do not count: decoding them raises an error with their name.
    """
    if source.load is not None or not any(_are_deep(source, evenly(len(source), SAMPLE))):
        return 0
    indices = evenly(len(source), MOST)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        found = [each for each in pool.map(lambda at: _largest(source, at), indices) if each >= 0]
    if not found:
        return 0
    bits = bits_of(min(max(found), 0xFFFF))
    _log.info(
        "%s, split %r: images of 16 bits a sample, read as %d bits: the largest value of %d of "
        "them is %d", dataset, source.split, bits, len(found), max(found),
    )  # fmt: skip
    return bits


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spaced."""
    return sorted({at * count // most for at in range(most)} if count > most else range(count))


def _are_deep(source: Source, indices: Sequence[int]) -> list[bool]:
    with contextlib.suppress(ValueError, OSError):
        return [_is_deep(record.get("image")) for record in source.__getitems__(indices)]
    return []


def _is_deep(image: object) -> bool:
    """Whether a record's image is deep, by its header."""
    with contextlib.suppress(ValueError, OSError):
        if isinstance(image, np.ndarray):
            return image.dtype == np.uint16
        if isinstance(image, Path):
            with open_header(image) as opened:
                return is_deep(opened)
        if isinstance(image, bytes) and not is_jpeg(image):
            with open_image(image) as opened:
                return is_deep(opened)
    return False


def _largest(source: Source, index: int) -> int:
    """The largest value of an image, if it is deep; else -1."""
    with contextlib.suppress(ValueError, OSError):
        image = source[index]["image"]
        if isinstance(image, np.ndarray):
            return int(image.max()) if image.dtype == np.uint16 else -1
        data = image.read_bytes() if isinstance(image, Path) else image
        if is_jpeg(data):
            return -1
        with open_image(data) as opened:
            if is_deep(opened):
                samples, mode = values(opened, data)
                return int((samples[..., :-1] if mode in WITH_ALPHA else samples).max())
    return -1


def _raw_mode(opened: ImageFile.ImageFile) -> str:
    """Pillow's name of how samples are stored: 'RGB;16B'; '' if it has none."""
    for tile in opened.tile:
        first = tile[3] if isinstance(tile[3], str) else (tile[3] or ("",))[0]
        return first if isinstance(first, str) else ""
    return ""


def _with_raw_mode(tile: Any, raw: str) -> Any:
    """A tile of Pillow's, whose samples are said to be stored otherwise."""
    args = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def _as_four_bytes(data: bytes) -> bytes:
    """A PNG of 16-bit grey and alpha, said to be RGBA of 8: the same bytes, filtered alike."""
    head = bytearray(data[12:29])  # 'IHDR', width, height, depth, colour type, and three more
    head[12:14] = 8, 6
    return data[:12] + bytes(head) + struct.pack(">I", zlib.crc32(head)) + data[33:]
