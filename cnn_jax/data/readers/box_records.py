"""Images on disk with boxes, and the boxes as fractions of the upright images."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data import fingerprint, orientation, reading
from cnn_jax.data.decode import image_size
from cnn_jax.data.errors import DataError
from cnn_jax.data.types import Record

_log = logging.getLogger(__name__)


class BoxRecords:
    """Images on disk and their annotations.

    Attributes:
        root: folder of the set.
        files: files of the images.
        annotations: 'boxes', 'labels' and 'crowd' of each image, and 'upright' where it is turned;
            see `cnn_jax.data.types.Record`.
    """

    def __init__(self, root: Path, files: Sequence[Path], annotations: Sequence[Mapping[str, Any]]):
        self.root = root
        self.files, self.annotations = list(files), list(annotations)

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [{"image": self.files[i], **self.annotations[i]} for i in indices]

    def describe(self, index: int) -> str:
        return reading.text_of_name(str(self.files[index]))

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, self.files)
        for one in self.annotations:
            yield from (fingerprint.array(one[name]) for name in ("boxes", "labels", "crowd"))
            if one.get("upright"):
                yield "upright"


def boxes_in_frames(
    files: Sequence[Path],
    corners: Sequence[np.ndarray],
    stated: Sequence[orientation.Size | None],
    dataset: str,
) -> list[dict[str, Any]]:
    """'boxes' of each image, as fractions of the sides of the upright image, and 'upright' if it
    is turned.

    Args:
        files: the images.
        corners: float [n, 4], (left, top, right, bottom) in pixels of the size stated.
        stated: (width, height); None if the annotation gives none.
        dataset: 'coco:PATH', for messages.

    Raises:
        DataError: a size is not the image's, see `orientation.frames`.
    """
    headers = orientation.headers(files)
    for file, header, size, pixels in zip(files, headers, stated, corners, strict=True):
        if header is None and size is None and len(pixels):
            try:
                image_size(file)
            except (ValueError, OSError) as error:
                raise DataError(
                    f"{dataset}: {file} has no size, and its annotation gives none: {error}"
                ) from error
    found = orientation.frames(files, headers, stated, dataset)
    records: list[dict[str, Any]] = []
    tiny = []
    for file, frame, pixels in zip(files, found, corners, strict=True):
        boxes = orientation.turn_boxes(pixels / np.tile(frame.size, 2), frame.annotation)
        turned = {} if frame.orientation == orientation.UPRIGHT else {"upright": True}
        records.append({"boxes": boxes, **turned})
        with np.errstate(invalid="ignore"):
            sides = pixels[:, 2:] - pixels[:, :2]
        tiny += [str(file)] * int(((sides > 0) & (sides < 1)).any(1).sum())
    if tiny:
        most = max((np.max(one, initial=0) for one in corners), default=0)
        _log.warning(
            "%s: %d of %d boxes are smaller than a pixel, such as in %s%s",
            dataset, len(tiny), sum(map(len, corners)), tiny[0],
            ": wanted pixels, and these seem to be fractions; multiply them by the sides of the "
            "images" if most <= 1 else "",
        )  # fmt: skip
    return records
