"""Why a run failed, in its directory, for those who read it later."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnn_jax import strict_json
from cnn_jax.train import hosts

FAILURE_FILE = "failure.json"
LONGEST = 500  # characters of a message


@contextlib.contextmanager
def noted(directory: Path) -> Iterator[None]:
    """Within the block the run goes on: an error leaves a file that says so, and a run that starts
    again removes it."""
    path = directory / FAILURE_FILE
    if hosts.is_first():
        path.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if hosts.is_first():
            with contextlib.suppress(OSError):  # such as of a full disk, which is the error itself
                write(directory, error)
        raise


def write(directory: Path, error: BaseException) -> None:
    """Writes why the run failed."""
    text = " ".join((str(error) or type(error).__name__).split())[:LONGEST]
    content = {"error": type(error).__name__, "message": text, "time": time.time()}
    (directory / FAILURE_FILE).write_text(strict_json.dumps(content) + "\n", encoding="utf-8")


def read(directory: Path) -> str:
    """Why the run failed; '' if it did not, or that is not known."""
    content = _content(directory)
    return str(content.get("message") or content.get("error") or "")


def kind(directory: Path) -> str:
    """The name of the error that it failed with; '' if it did not, or that is not known."""
    return str(_content(directory).get("error", ""))


def _content(directory: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads((directory / FAILURE_FILE).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
