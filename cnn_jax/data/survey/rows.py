"""What each example of a split says of itself: a row of its header, size in bytes and label.

Of an image in a file only the header is read, and all of a file of at most WHOLE bytes: opening it
costs more. What is in memory anyway is read whole.
"""

import concurrent.futures
import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.image_header import header_of
from cnn_jax.data.survey.boxes import BoxTally
from cnn_jax.data.types import Record, Source

WHOLE = 8192  # bytes of a file that is read whole
CHUNK = 256  # examples read at a time
THREADS = 16  # they wait for a disk or a network most of the time

# 'space' is the size, upright, with 0 for axes that there are not; 'depth' is 0 where the header
# cannot be read; 'content' is a hash of the bytes, 0 where it is not known yet.
ROW = np.dtype(
    [
        ("space", np.int32, 3),
        ("orientation", np.int8),
        ("depth", np.int16),
        ("mode", "S12"),
        ("format", "S12"),
        ("label", np.int32),
        ("bytes", np.int64),
        ("content", np.uint64),
    ]
)
NO_LABEL = -1


class Stopped(Exception):
    """The survey was told to stop."""


class Rows(NamedTuple):
    """The rows of a split.

    Attributes:
        table: ROW [n].
        unreadable: index -> why its header cannot be read.
        boxes: the boxes, if the examples have any.
    """

    table: np.ndarray
    unreadable: dict[int, str]
    boxes: BoxTally | None


def read_rows(
    source: Source, *, threads: int = THREADS, stopped: Callable[[], bool] = lambda: False
) -> Rows:
    """Reads every example of a split once.

    Raises:
        DataError: records cannot be read.
        Stopped: `stopped` says so.
    """
    table = np.zeros(len(source), ROW)
    unreadable: dict[int, str] = {}
    boxes = BoxTally(source.num_classes) if "boxes" in source[0] else None
    for start, part in in_chunks(
        lambda indices: _part(source, indices), range(len(source)), threads, stopped
    ):
        table[start : start + len(part.table)] = part.table
        unreadable |= part.unreadable
        if boxes is not None and part.boxes is not None:
            boxes.add_all(part.boxes)
    return Rows(table, unreadable, boxes)


def in_chunks(
    read: Callable[[Sequence[int]], Any],
    indices: Sequence[int],
    threads: int,
    stopped: Callable[[], bool],
) -> Iterator[tuple[int, Any]]:
    """(start, result) of `read` for pieces of the indices, in parallel and in order.

    No more pieces are read ahead than threads have to do, so that a million take no memory.
    """
    starts = iter(range(0, len(indices), CHUNK))
    pending: list[tuple[int, concurrent.futures.Future]] = []
    with concurrent.futures.ThreadPoolExecutor(threads, "cnn_jax.survey") as pool:
        try:
            while True:
                for start in starts:
                    piece = indices[start : start + CHUNK]
                    pending.append((start, pool.submit(read, piece)))
                    if len(pending) >= 4 * threads:
                        break
                if not pending:
                    return
                start, future = pending.pop(0)
                yield start, future.result()
                if stopped():
                    raise Stopped
        finally:
            for _, future in pending:
                future.cancel()


def content_hash(data: Any) -> int:
    """A hash of bytes, 64 bits and not 0; two examples count as equal if their sizes are too."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def _part(source: Source, indices: Sequence[int]) -> Rows:
    table = np.zeros(len(indices), ROW)
    unreadable: dict[int, str] = {}
    boxes = BoxTally(source.num_classes)
    records = source.__getitems__(list(indices))
    for row, (index, record) in enumerate(zip(indices, records, strict=True)):
        label = record.get("label", NO_LABEL)
        table[row]["label"] = label if np.ndim(label) == 0 else NO_LABEL
        try:
            _fill(table, row, record, source.upright)
        except (ValueError, OSError) as error:
            if source.load is not None:  # what a loader of its own reads need be no image
                continue
            unreadable[index] = getattr(error, "strerror", None) or str(error)
        if "boxes" in record:
            boxes.add(record, tuple(table[row]["space"][:2]))
    return Rows(table, unreadable, boxes)


def _fill(table: np.ndarray, row: int, record: Record, upright: bool) -> None:
    """Fills in a row of the table.

    Raises:
        ValueError or OSError: the header cannot be read.
    """
    image = record.get("image")
    if isinstance(image, np.ndarray):
        _fill_array(table, row, image)
        return
    if not isinstance(image, (bytes, Path)):
        return
    if isinstance(image, Path):
        with open(image, "rb", opener=_opener) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is no regular file")
            size = table[row]["bytes"] = status.st_size
            if not size:
                raise ValueError("the file is empty")
            if size <= WHOLE:
                data = stream.read()
                table[row]["content"] = content_hash(data)
                found = header_of(io.BytesIO(data), size)
            else:
                found = header_of(stream, size)
    else:
        table[row]["bytes"] = len(image)
        table[row]["content"] = content_hash(image)
        found = header_of(io.BytesIO(image), len(image))
    turned = record.get("upright", upright) and found.orientation >= 5
    space = (found.width, found.height) if turned else (found.height, found.width)
    table[row]["space"] = (*space, 0)
    table[row]["orientation"] = found.orientation
    table[row]["mode"], table[row]["format"] = found.mode.encode(), found.format.encode()
    table[row]["depth"] = found.depth


def _fill_array(table: np.ndarray, row: int, image: np.ndarray) -> None:
    """The row of pixels [*space, C], or of a sequence [L, C]."""
    space = image.shape[:-1]
    if len(space) not in (1, 2, 3):
        raise ValueError(f"it has the shape {list(image.shape)}")
    content = np.ascontiguousarray(image)
    channels = image.shape[-1]
    table[row]["space"] = (*space, 0, 0)[:3]
    table[row]["orientation"] = 1
    table[row]["mode"] = {1: b"L", 3: b"RGB"}.get(channels, f"{channels} channels".encode())
    table[row]["format"] = str(image.dtype).encode()
    table[row]["depth"] = 8 * image.dtype.itemsize
    table[row]["bytes"] = content.nbytes
    table[row]["content"] = content_hash(content.reshape(-1).view(np.uint8))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would block


def counted(column: np.ndarray) -> Counter:
    """Value -> number of its rows, the most common first; bytes as text."""
    values, counts = np.unique(column, return_counts=True)
    plain = [one.decode() if isinstance(one, bytes) else int(one) for one in values.tolist()]
    order = sorted(range(len(plain)), key=lambda i: -counts[i])
    return Counter({plain[i]: int(counts[i]) for i in order})
