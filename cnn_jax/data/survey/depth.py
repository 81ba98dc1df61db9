"""How many bits the images of a split hold where their files have 16: see `PixelRule.bits`."""

import concurrent.futures
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import deep_samples
from cnn_jax.data.image_header import is_jpeg, open_header, open_image
from cnn_jax.data.pixel_rule import bits_of
from cnn_jax.data.survey.masks import evenly
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

SAMPLE = 64  # images whose headers are looked at
MOST = 512  # images whose values are, if one of these is deep
_THREADS = 8


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
                return deep_samples.is_deep(opened)
        if isinstance(image, bytes) and not is_jpeg(image):
            with open_image(image) as opened:
                return deep_samples.is_deep(opened)
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
            if deep_samples.is_deep(opened):
                samples, mode = deep_samples.values(opened, data)
                return int(
                    (samples[..., :-1] if mode in deep_samples.WITH_ALPHA else samples).max()
                )
    return -1
