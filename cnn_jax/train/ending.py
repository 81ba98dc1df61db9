"""The end of a process whose main thread cannot end it. Python's own library alone in here."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

PATIENCE = 1.0  # seconds for a stream: another thread may be writing to it for ever
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


def say(line: str) -> None:
    """A line on standard error, from any thread, after what is printed already."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _within_patience(stream.flush)
    if line:
        _within_patience(lambda: _write(line))


def end(status: int, line: str = "") -> NoReturn:
    """Ends this process from any thread, after a line on standard error, whatever others hold."""
    say(line)
    for child in multiprocessing.active_children():  # those that read data
        with contextlib.suppress(Exception):
            child.kill()
    os._exit(status)


def _write(line: str) -> None:
    cursor = _SHOW_CURSOR if os.isatty(2) else ""
    os.write(2, f"{cursor}{line}\n".encode(errors="backslashreplace"))


def _within_patience(do: Callable[[], object]) -> None:
    def quietly() -> None:
        with contextlib.suppress(Exception):  # nobody may be there to read it
            do()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(PATIENCE)
