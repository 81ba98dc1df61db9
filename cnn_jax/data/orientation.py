"""Which way up images are, and in which frame their annotations are: by their headers.

A camera that is held upright often stores its photograph on its side, with an EXIF orientation that
says how to turn it. Most programs show it upright, and boxes drawn in them belong to the upright
image; others ignore the orientation. Which it was, the size tells that an annotation gives.
"""

import concurrent.futures
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.image_header import read_header

_log = logging.getLogger(__name__)

UPRIGHT = 1  # EXIF's orientation of an image that need not be turned; 5 to 8 lie on a side
ROUNDING = 1  # pixels by which a size may differ from the image's
_THREADS = 16
_CHUNK = 64

Size = tuple[float, float]  # width, height


class Header(NamedTuple):
    """What the header of an image says: its size as it is stored, and its EXIF orientation."""

    width: int
    height: int
    orientation: int = UPRIGHT

    @property
    def stored(self) -> Size:
        return self.width, self.height

    @property
    def upright(self) -> Size:
        return self.stored[::-1] if self.orientation >= 5 else self.stored


class Frame(NamedTuple):
    """The frame of an image's annotation.

    Attributes:
        size: (width, height) of it.
        orientation: how to turn the image; UPRIGHT if not at all.
        annotation: how to turn the annotation, to be that of the upright image.
    """

    size: Size
    orientation: int = UPRIGHT
    annotation: int = UPRIGHT


def headers(files: Sequence[Path]) -> list[Header | None]:
    """The headers of images, read in parallel; None for one that cannot be read.

    Decoding such an image raises an error with its name.
    """
    pieces = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return [header for some in pool.map(_headers, pieces) for header in some]


def frames(
    files: Sequence[Path],
    found: Sequence[Header | None],
    stated: Sequence[Size | None],
    dataset: str,
) -> list[Frame]:
    """The frame of each image's annotation.

    Where the size is of no help, since the stored and the upright image have the same or none is
    given, it is the frame of the other turned images; without any, the upright one.

    Args:
        files: the images.
        found: their headers.
        stated: the sizes that the annotations give; None for one without.
        dataset: 'coco:PATH', for messages.

    Raises:
        DataError: a size is neither that of the stored image nor that of the upright one.
    """
    result: list[Frame] = []
    wrong, undecided = [], []
    decided = {"stored": 0, "upright": 0}
    for index, (file, header, size) in enumerate(zip(files, found, stated, strict=True)):
        if header is None:
            result.append(Frame(size or (1, 1)))
            continue
        turned = header.orientation
        as_stored = size is None or is_size(size, header.stored)
        as_upright = size is None or is_size(size, header.upright)
        if not as_stored and not as_upright:
            wrong.append(
                f"{file} ({_shown(size or (0, 0))}, and the image has {_shown(header.upright)})"
            )
        elif turned != UPRIGHT and as_stored and as_upright:
            undecided.append(index)
        elif turned != UPRIGHT:
            decided["upright" if as_upright else "stored"] += 1
        frame = header.upright if as_upright else header.stored
        result.append(Frame(size or frame, turned, UPRIGHT if as_upright else turned))
    if wrong:
        more = f" and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        raise DataError(
            f"{dataset}: the annotations give other sizes than the images have: "
            f"{', '.join(wrong[:3])}{more}. Boxes are in pixels of that size: correct it, or put "
            "the images there that were annotated"
        )
    if undecided:
        by_stored = decided["stored"] > 0 and decided["upright"] == 0
        for index in undecided if by_stored else ():
            header, old = found[index], result[index]
            assert header is not None
            size = stated[index] or header.stored
            result[index] = Frame(size, old.orientation, old.orientation)
        _log.warning(
            "%s: %d images are turned by their EXIF orientation, and their sizes do not tell "
            "whether their annotations are of the %s: they are taken so, such as %s; look at one",
            dataset, len(undecided), "image as it is stored" if by_stored else "upright image",
            files[undecided[0]],
        )  # fmt: skip
    if decided["stored"] and decided["upright"]:
        _log.warning(
            "%s: of the images that are turned by their EXIF orientation, %d have annotations of "
            "the image as it is stored, and %d of the upright one, by their sizes",
            dataset, decided["stored"], decided["upright"],
        )  # fmt: skip
    return result


def turn_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Boxes float [n, 4], (left, top, right, bottom) as fractions of the stored image's sides, as
    those of the upright one's."""
    left, top, right, bottom = boxes.T
    if orientation in (5, 6, 7, 8):
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 6, 7):
        left, right = 1 - right, 1 - left
    if orientation in (3, 4, 7, 8):
        top, bottom = 1 - bottom, 1 - top
    return np.stack([left, top, right, bottom], axis=1)


def turn_pixels(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, ...] as they are stored, upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _headers(files: Sequence[Path]) -> list[Header | None]:
    return [_header(file) for file in files]


def _header(file: Path) -> Header | None:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe would block
            return None
        return Header(*read_header(file))
    except (ValueError, OSError):
        return None


def is_size(one: Size, other: Size) -> bool:
    """Whether two sizes are one, but for rounding."""
    return all(abs(a - b) <= ROUNDING for a, b in zip(one, other, strict=True))


def _shown(size: Size) -> str:
    return "x".join(f"{side:g}" for side in size)
