"""Reads the files of a data set safely: none may block for ever or lead out of its folder."""

import json
import os
import posixpath
import re
import stat
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn_jax.data import encoding
from cnn_jax.data.errors import DataError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_bytes(path: Path, what: str = "file") -> bytes:
    """The content of a regular file, or of a link to one.

    Raises:
        DataError: it cannot be read, or is a pipe, a device or a directory; the message names it.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the {what} {path}: {reason}") from error
    kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
    raise DataError(f"cannot read the {what} {path}: it is {kind}")


def read_text(path: Path) -> str:
    """The content of a text file, see `encoding.text_of`.

    Raises:
        DataError: it cannot be read, or is not text; the message names it.
    """
    return encoding.text_of(read_bytes(path), path)


def read_list(path: Path, fits: Callable[[str], bool]) -> str:
    """The content of a text file that lists files, see `encoding.text_that_fits`.

    Raises:
        DataError: it cannot be read, or is not text; the message names it.
    """
    return encoding.text_that_fits(read_bytes(path), path, fits)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without blank ones; see `read_text`."""
    return lines_of(read_text(path))


def lines_of(text: str) -> list[str]:
    """The lines of a text, stripped, without blank ones.

    Lines end where they end in an editor, not at form feeds or Unicode's other separators.
    """
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file, see `encoding.parse_xml`.

    Raises:
        DataError: it cannot be read, or is no XML; the message names it.
    """
    return encoding.parse_xml(read_bytes(path), path)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, is not JSON, is nested too deep, or has a key twice in one
            object, of which Python would take the last alone; the message names it.
    """
    try:
        return json.loads(read_text(path), object_pairs_hook=_distinct)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deep to be read") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not JSON that can be read: {str(error)[:200]}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} is in one object twice: keep one")
    return entries


def text_of_name(name: str) -> str:
    """A file's name as text, the same under every locale: UTF-8, or else Latin-1.

    Python represents bytes beyond ASCII as surrogates where they are not UTF-8, and under LANG=C
    all of them; they find the file but cannot be printed.
    """
    try:
        stored = os.fsencode(name)
    except UnicodeEncodeError:  # half a pair, which JSON may hold and no file's name
        return name.encode("ascii", "backslashreplace").decode()
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("latin-1")


def is_inside(name: str) -> bool:
    """Whether a relative path given in a file stays within the folder it is relative to.

    Links are not followed: their target is the choice of whoever created them.
    """
    plain = posixpath.normpath(name.replace("\\", "/"))
    leads_out = plain == ".." or plain.startswith(("../", "/"))
    return not leads_out and not re.match(r"[A-Za-z]:", plain) and "\0" not in plain
