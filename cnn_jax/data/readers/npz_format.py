"""Arrays of a file of NumPy, as labels and as pixels, checked before they are used."""

import contextlib
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from cnn_jax.data.errors import DataError

_log = logging.getLogger(__name__)

CHANNELS = (1, 3, 4)
DARK = 32  # images without a value as large are probably not in 0..255

# RuntimeError: it is encrypted, or packed in a way that Python does not know
_DAMAGED = (ValueError, OSError, EOFError, KeyError, RuntimeError, SyntaxError, struct.error,
            zipfile.BadZipFile, zlib.error)  # fmt: skip

# Arrays of a file that are in use: 'train[:90%]' and 'train[90%:]' are read once.
_in_use: WeakValueDictionary[tuple[Any, ...], np.ndarray] = WeakValueDictionary()


def array_names(file: Path) -> list[str]:
    """The names of the arrays.

    Raises:
        DataError: it is not such a file; the message names it.
    """
    with one_line(file), file.open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise DataError(f"{file} is one array: wanted images and labels, saved by np.savez")
        return list(content.files)


def read_labels(file: Path, name: str) -> np.ndarray:
    """Labels int64 [N].

    Raises:
        DataError: they are no integers from 0, or not one for an image.
    """
    labels = _array(file, name)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{file}: {name} has the shape {list(labels.shape)}: wanted one label an image, [N]; "
            "labels.argmax(1) makes them of one-hot rows; experiments.multilabel reads several"
        )
    if labels.ndim not in (1, 2) or not len(labels):
        raise DataError(f"{file}: {name} has the shape {list(labels.shape)}: wanted [N] or [N, 1]")
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"{file}: {name} is {labels.dtype}: wanted integers; save labels.astype(int) if they "
            "are whole, or np.unique(labels, return_inverse=True)[1] of names"
        )
    labels = labels.reshape(-1)
    if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"{file}: {name} holds {wrong}: wanted labels from 0; remove such images")
    return labels.astype(np.int64)


def read_several_labels(file: Path, name: str) -> np.ndarray:
    """Labels int64 [N, K] of 0 and 1, several for an image.

    Raises:
        DataError: they have another shape, or other values.
    """
    labels = _array(file, name)
    if labels.ndim != 2 or labels.shape[1] < 2 or not len(labels):
        raise DataError(
            f"{file}: {name} has the shape {list(labels.shape)}: wanted a row of 0 and 1 for each "
            "image, [N, K]; one label an image is for experiments.classification"
        )
    numbers = labels.dtype.kind in "biuf"
    if not numbers or not ((labels == 0) | (labels == 1)).all():
        raise DataError(f"{file}: {name} holds other values than 0 and 1: wanted no others")
    return labels.astype(np.int64)


def read_images(file: Path, name: str) -> np.ndarray:
    """Images uint8 [N, H, W, C] or volumes uint8 [N, D, H, W, C].

    Raises:
        DataError: they have another shape, or values that are not equal to any of uint8.
    """
    stored = _array(file, name)
    shape = stored.shape
    if stored.ndim not in (3, 4, 5) or 0 in shape:
        raise DataError(
            f"{file}: {name} has the shape {list(shape)}: wanted images [N, H, W] or [N, H, W, C], "
            "or volumes [N, D, H, W] or [N, D, H, W, C]"
        )
    last = shape[-1] in CHANNELS
    if stored.ndim >= 4 and not last and shape[1] in CHANNELS:
        order = ", ".join(map(str, (0, *range(2, stored.ndim), 1)))
        raise DataError(
            f"{file}: {name} has the shape {list(shape)}, whose channels seem to come first: save "
            f"images.transpose({order}); volumes of depth {shape[1]} are written [N, D, H, W, 1]"
        )
    if stored.ndim == 5 and not last:
        raise DataError(
            f"{file}: {name} has {shape[-1]} channels, by its shape {list(shape)}: wanted 1, 3 or 4"
        )
    pixels = _exact(stored, f"{file}: {name}")
    if (brightest := int(pixels.max())) < DARK:
        _log.warning(
            "%s: the brightest value of %s is %d, and 255 is white: the images are taken as nearly "
            "black. Save them in 0..255 if they are not",
            file, name, brightest,
        )  # fmt: skip
    return pixels if stored.ndim >= 4 and last else pixels[..., None]


def _exact(stored: np.ndarray, place: str) -> np.ndarray:
    """The same numbers as uint8."""
    if stored.dtype == np.uint8:
        return stored
    kind = stored.dtype.kind
    if kind == "b":
        raise DataError(f"{place} is bool: wanted uint8; save images.astype('uint8') * 255")
    if kind not in "iuf":
        raise DataError(f"{place} is {stored.dtype}: wanted uint8 in 0..255")
    low, high = stored.min(), stored.max()
    if kind == "f" and 0 <= low <= high <= 1:
        raise DataError(
            f"{place} is {stored.dtype} in 0..1: wanted uint8 in 0..255; save "
            "(images * 255).round().astype('uint8')"
        )
    if 0 <= low <= high <= 255:  # False for NaN
        pixels = stored.astype(np.uint8)
        if np.array_equal(pixels, stored):
            return pixels
    raise DataError(
        f"{place} is {stored.dtype} from {low} to {high}: wanted uint8, or whole numbers in "
        "0..255; scale the values to that range, round them, and save them as uint8"
    )


def _array(file: Path, name: str) -> np.ndarray:
    with one_line(file):
        status = file.stat()
        key = (str(file), status.st_mtime_ns, status.st_size, name)
        array = _in_use.get(key)
        if array is None:
            with file.open("rb") as stream:  # which np.load would leave open after an error
                array = np.load(stream, allow_pickle=False)[name]
            if not isinstance(array, np.ndarray):
                raise DataError(f"{file}: {name} is no array of NumPy")
            array.flags.writeable = False
            _in_use[key] = array
    return array


@contextlib.contextmanager
def one_line(file: Path) -> Iterator[None]:
    """Turns what reading a file raises into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{file} does not fit into memory: store its images as files, for folder:PATH"
        ) from error
    except _DAMAGED as error:
        reason = f"{error}" or type(error).__name__
        if "pickle" in reason:  # which could run any program
            reason = "it is no file of arrays, or holds Python objects, which are not loaded"
        raise DataError(f"{file} cannot be read: {reason}; save it by np.savez") from error
