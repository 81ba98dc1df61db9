"""The values of images of more than 8 bits a sample.

Pillow gives the values of grey images; of colour it gives the high byte of each. The low bytes are
read by decoding once more with the bytes of a sample swapped.
"""

import struct
import sys
import zlib
from typing import Any

import numpy as np
from PIL import ImageFile

from cnn_jax.data.image_header import open_image

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
