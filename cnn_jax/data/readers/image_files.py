"""Which files and folders of a data set count: images by their suffix, and nothing that a system or
a program leaves beside them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from cnn_jax.data.errors import DataError

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".avif", ".jp2",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip

# Folders and files of systems, in lower case; names that begin with a dot are hidden anyway.
_LEFT_BY_SYSTEMS = {
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot",
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip

# How files begin: JPEG, PNG, GIF, TIFF (two), BMP is left out, for 'BM' begins many texts.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def is_hidden(name: str) -> bool:
    """Whether a name is hidden or a system's own: '._x.jpg', '.ipynb_checkpoints', '@eaDir'."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image that counts."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not is_hidden(name)


def is_image(path: str) -> bool:
    """Whether a file is an image: by its suffix; one without a suffix by how it begins."""
    name = os.path.basename(path)
    if is_image_name(name):
        return True
    if os.path.splitext(name)[1] or is_hidden(name):
        return False
    try:
        if not os.path.isfile(path):  # a pipe would block
            return False
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(_BEGINNINGS) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def images_in(folder: Path) -> list[Path]:
    """The images of a folder itself, by name."""
    return sorted(entry for entry in folder.iterdir() if is_image_name(entry.name))


def subfolders(folder: str | Path) -> list[str]:
    """The names of the folders in a folder that count, sorted.

    Raises:
        DataError: the folder cannot be read.
    """
    return sorted(e.name for e in scan(folder) if is_folder(e) and not is_hidden(e.name))


def holds_images(folder: str | Path) -> bool:
    """Whether there is an image in a folder itself."""
    return any(is_image(e.path) for e in scan(folder) if not is_folder(e))


def holds_images_below(folder: str | Path) -> bool:
    """Whether there is an image in a folder or below it; links are followed, each folder once."""
    pending, entered = [os.fspath(folder)], set()
    while pending:
        top = pending.pop()
        status = os.stat(top)
        if (identity := (status.st_dev, status.st_ino)) in entered:
            continue
        entered.add(identity)
        for entry in scan(top):
            if is_folder(entry):
                if not is_hidden(entry.name):
                    pending.append(entry.path)
            elif is_image(entry.path):
                return True
    return False


def scan(folder: str | Path) -> Iterator[os.DirEntry]:
    """The entries of a folder; a DataError if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it raises an error, if it is named as an image
        return False


def some(names: list[str], shown: int = 3) -> str:
    """The first few of many names: 'a, b, c and 4 more'."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
