"""Keeps a run going when standard output or standard error is closed.

`python -m experiments.classification | head -1` closes the pipe after a line; a terminal that is
closed answers every write with an error; a file may fill its disk. What the run prints is also in
metrics.jsonl and result.json.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# Errors of a stream that is gone for good; others may pass, such as that of a full disk.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ESHUTDOWN, errno.ECONNRESET)

_note = ""
_lost: list[str] = []


class Lasting:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if error.errno not in GONE:
            return
        with contextlib.suppress(OSError, ValueError):
            # the output of C libraries goes there too, and what Python still buffers at the end
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        _lost.append(f"{self._name} is closed ({error.strerror})")
        _tell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def if_lost(note: str) -> None:
    """Sets the note for standard error that is printed once standard output is gone."""
    global _note
    _note = note
    _tell()


def _tell() -> None:
    while _note and _lost:
        print(f"{_lost.pop()}: {_note}", file=sys.stderr)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Makes both streams `Lasting` within the block."""
    _open_all()
    before = sys.stdout, sys.stderr
    for name, said in (("stdout", "Standard output"), ("stderr", "Standard error")):
        stream = getattr(sys, name)
        if stream is not None:  # it was closed from the beginning
            setattr(sys, name, Lasting(stream, said))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _open_all() -> None:
    """Opens those of descriptors 0 to 2 that are closed: otherwise the run's first file would get
    such a number, and a library's output would go into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
