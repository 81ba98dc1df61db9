"""A directory of this user alone, for what has no other place on this machine."""

import os
import stat
import tempfile
from pathlib import Path


def directory() -> Path:
    """<temporary directory>/cnn_jax-<user id>, which nobody else may read or write.

    What others could have laid there is not trusted.

    Raises:
        OSError: there is no temporary directory that can be written.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"
    place = Path(tempfile.gettempdir()) / f"cnn_jax-{user}"
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        found = place.lstat()
        own = not hasattr(os, "getuid") or (found.st_uid == user and not found.st_mode & 0o077)
        if not (stat.S_ISDIR(found.st_mode) and own):
            return Path(tempfile.mkdtemp(prefix="cnn_jax-"))
    return place
