"""Ends a process whose main thread cannot. Imports only the standard library."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

PATIENCE = 1.0  # seconds for a stream, which another thread may block
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


_shown: Callable[[str], str] = str


def show_as(shown: Callable[[str], str]) -> None:
    """Sets how a line is to be worded: a command has flags where the library has parameters."""
    global _shown
    _shown = shown


def say(line: str) -> None:
    """Prints a line on standard error from any thread, after the output so far."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _within_patience(stream.flush)
    if line:
        _within_patience(lambda: _write(_shown(line)))


def end(status: int, line: str = "") -> NoReturn:
    """Ends this process from any thread, after a line on standard error, in spite of held locks."""
    say(line)
    for child in multiprocessing.active_children():  # the processes that read data
        with contextlib.suppress(Exception):
            child.kill()
    os._exit(status)


def _write(line: str) -> None:
    cursor = _SHOW_CURSOR if os.isatty(2) else ""
    os.write(2, f"{cursor}{line}\n".encode(errors="backslashreplace"))


def _within_patience(do: Callable[[], object]) -> None:
    def quietly() -> None:
        with contextlib.suppress(Exception):  # the stream may have no reader
            do()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(PATIENCE)
