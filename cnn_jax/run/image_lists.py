"""The images that a user means: files, folders of them, patterns and lists."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnn_jax.data import reading
from cnn_jax.data.readers import image_files
from cnn_jax.stores import local_path


def expand(names: Sequence[str]) -> list[str]:
    """The paths of all images that are meant, in order, each once.

    Args:
        names: of each: a file, whether it is there or not; a folder, for the images in it and in
            its folders, without hidden ones; a pattern, 'photos/**/*.jpg'; or '@FILE', a text with
            one of these a line, relative to the current directory or else to that of the file.

    Raises:
        ValueError: a folder or a pattern has no image, or a list cannot be read.
    """
    found: list[str] = []
    for name in names:
        found += _expanded(name)
    return list(dict.fromkeys(found))


def _expanded(name: str) -> list[str]:
    if os.path.isdir(name):
        inside = list(_below(name))
        if not inside:
            raise ValueError(f"{name} is a folder without an image.")
        return inside
    if os.path.lexists(name):
        return [name]
    if name.startswith("@"):
        return _of_list(local_path(name[1:]))
    if glob.has_magic(name):
        matched = sorted(glob.glob(name, recursive=True), key=os.fsencode)
        inside = [path for path in matched if image_files.is_image(path)]
        if not inside:
            raise ValueError(f"No image is called {name}.")
        return inside
    return [name]


def _of_list(path: Path) -> list[str]:
    found: list[str] = []
    for line in reading.read_lines(path):
        beside = path.parent / line
        there = os.path.lexists(line) or line.startswith("@") or not os.path.lexists(beside)
        if line == f"@{path}":
            raise ValueError(f"{path} names itself.")
        found += _expanded(line if there else str(beside))
    if not found:
        raise ValueError(f"{path} names no image.")
    return found


def _below(folder: str) -> Iterator[str]:
    """The images in a folder and below it; links are followed, each folder once."""
    pending, entered = [folder], set()
    while pending:
        top = pending.pop()
        status = os.stat(top)
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        entries = sorted(image_files.scan(top), key=lambda entry: os.fsencode(entry.name))
        for entry in entries:
            if not image_files.is_folder(entry) and image_files.is_image(entry.path):
                yield entry.path
        folders = [e.path for e in entries if image_files.is_folder(e)]
        pending += [p for p in reversed(folders) if not image_files.is_hidden(os.path.basename(p))]
