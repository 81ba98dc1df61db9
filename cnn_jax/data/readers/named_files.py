"""Finds the files that a list names, in folders that are each read once.

Asking for each of 118,000 files takes minutes on a network. A name is also found where it is
written in other bytes than in the list: in Unicode's other form (a Mac's 'é' is two characters), or
in Latin-1 on the disk. Names that only look alike are not taken: `hint` names them.
"""

import os
import unicodedata
from pathlib import Path

from cnn_jax.data.readers.image_files import SUFFIXES, is_image_name
from cnn_jax.data.reading import text_of_name


class NamedFiles:
    """The files in folders, by their names."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {}
        self._plain: dict[str, dict[str, str]] = {}
        self._stems: dict[str, dict[str, str]] = {}

    def find(self, folder: str | Path, name: str) -> Path | None:
        """The file or folder below `folder` that a relative path with '/' means; None if there is
        none."""
        path = os.path.normpath(os.path.join(folder, name))
        above, base = os.path.split(path)
        if base in self._contents(above):
            return Path(path)
        parts = os.path.relpath(path, folder).split(os.sep)
        found = os.fspath(folder)
        for part in parts:
            if part != ".." and part not in self._contents(found):
                part = self._by_plain_name(found).get(plain_name(part), "")
                if not part:
                    return None
            found = os.path.join(found, part)
        return Path(os.path.normpath(found)) if os.path.exists(found) else None

    def find_stem(self, folder: str | Path, name: str) -> Path | None:
        """The only image below `folder` that has this name but for its suffix; None if there is
        none, or several."""
        above, stem = os.path.split(os.path.normpath(os.path.join(folder, name)))
        if above not in self._stems:
            found: dict[str, str] = {}
            for one in filter(is_image_name, self._contents(above)):
                plain = plain_name(os.path.splitext(one)[0])
                found[plain] = "" if plain in found else one
            self._stems[above] = found
        file = self._stems[above].get(plain_name(stem))
        return Path(above, file) if file else None

    def hint(self, folder: str | Path, name: str) -> str:
        """'; there is FILE' for a file of nearly this name in a folder, or ''."""
        stem, suffix = os.path.splitext(os.path.basename(name.replace("\\", "/")))
        if suffix.lower() not in SUFFIXES:
            stem += suffix
        near = [
            one
            for one in self._contents(folder)
            if plain_name(os.path.splitext(one)[0]).casefold() == plain_name(stem).casefold()
        ]
        return f"; there is {os.path.join(folder, min(near))}" if near else ""

    def _contents(self, folder: str | Path) -> set[str]:
        folder = os.fspath(folder)
        if folder not in self._names:
            try:
                self._names[folder] = set(os.listdir(folder or "."))
            except (OSError, ValueError):  # ValueError: a name with a null byte
                self._names[folder] = set()
        return self._names[folder]

    def _by_plain_name(self, folder: str) -> dict[str, str]:
        """Plain name -> name, of those that no other has."""
        if folder not in self._plain:
            found: dict[str, str] = {}
            for name in self._contents(folder):
                found[plain_name(name)] = "" if plain_name(name) in found else name
            self._plain[folder] = found
        return self._plain[folder]


def plain_name(name: str) -> str:
    """A name in one form, to be compared: Unicode's composed one, without undecoded bytes."""
    return unicodedata.normalize("NFC", text_of_name(name))
