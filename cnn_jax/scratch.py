"""Directories of this user alone, for what has no other place on this machine."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def directory() -> Path:
    """<temporary directory>/cnn_jax-<user id>, which nobody else may read or write.

    What others could have laid there is not trusted: then it is a new one.

    Raises:
        OSError: there is no temporary directory that can be written.
    """
    return _own() or Path(tempfile.mkdtemp(prefix="cnn_jax-"))


def caches() -> Iterator[Path]:
    """Directories for what can be made again, the best first; none need be there, or writable.

    ~/.cache/cnn_jax, or the one below $XDG_CACHE_HOME, where anybody knows of a home; then
    `directory`, unless somebody else may write there.
    """
    with contextlib.suppress(RuntimeError):  # nobody knows where home is
        named = Path(os.environ.get("XDG_CACHE_HOME", "")).expanduser()
        # a relative one counts as none (XDG Base Directory Specification, version 0.8)
        home = named if named.is_absolute() else Path("~/.cache").expanduser()
        yield home / "cnn_jax"
    with contextlib.suppress(OSError):  # there is no directory for temporary files
        if (own := _own()) is not None:
            yield own


def _own() -> Path | None:
    """The directory of this user, made if it is new; None where it is not surely his alone."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    place = Path(tempfile.gettempdir()) / f"cnn_jax-{user}"
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        found = place.lstat()
        own = not hasattr(os, "getuid") or (found.st_uid == user and not found.st_mode & 0o077)
        if not (stat.S_ISDIR(found.st_mode) and own):
            return None
    return place
