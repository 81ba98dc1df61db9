"""The files of the folders of classes, each once, with the links that are left out."""

import os
from collections.abc import Callable
from pathlib import Path

from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import image_files


class Walk:
    """Walks through folders, following links.

    Attributes:
        folders: folder -> time of its last change in nanoseconds, of all that were read.
        left_out: reason -> links that were left out.
        said: what is to be said about them.
    """

    def __init__(self, root: Path):
        self._root = _identity(root)
        self.folders: dict[str, int] = {}
        self.left_out: dict[str, list[str]] = {}
        self.said: list[str] = []

    def files(self, folder: str, barred: Callable[[], frozenset[str]]) -> list[str]:
        """All files in and below a folder.

        No folder is entered twice, not even the root through a link that leads back up, and none
        of `barred` or above it through a link: it holds the images of other classes.

        Raises:
            DataError: a folder cannot be read.
        """
        if not os.path.isdir(folder):
            return []
        found, pending = [], [folder]
        again, alien, dangling = [], [], []
        own = os.path.realpath(folder)
        linked: set[str] = set()  # targets of links to files
        try:
            entered = {self._root}
            while pending:
                top = pending.pop()
                status = os.stat(top)
                if (identity := (status.st_dev, status.st_ino)) in entered:
                    again.append(top)
                    continue
                entered.add(identity)
                self.folders[top] = status.st_mtime_ns
                for entry in image_files.scan(top):
                    if image_files.is_hidden(entry.name):
                        continue
                    is_folder = image_files.is_folder(entry)
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if not os.path.exists(target):
                            dangling.append(entry.path)
                            continue
                        if _leads_into(target, barred(), is_folder):
                            alien.append(entry.path)
                            continue
                        if not is_folder:
                            if target in linked or target.startswith(own + os.sep):
                                again.append(entry.path)
                                continue
                            linked.add(target)
                    if is_folder:
                        pending.append(entry.path)
                    else:
                        found.append(entry.path)
        except OSError as error:
            raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error
        if again:
            self.said.append(f"{folder}: left out {len(again)} links to what was already read")
            self._leave_out("a link to what was already read", again)
        for links, what in ((alien, "to images of other classes"), (dangling, "to nothing")):
            if links:
                shown = image_files.some(sorted(links))
                self.said.append(f"{folder}: left out {len(links)} links {what}: {shown}")
                self._leave_out(f"a link {what}", links)
        return found

    def _leave_out(self, reason: str, links: list[str]) -> None:
        self.left_out.setdefault(reason, []).extend(sorted(links))


def _leads_into(target: str, barred: frozenset[str], is_folder: bool) -> bool:
    """Whether a target is one of the folders `barred`, is in one, or is a folder around one."""
    above = target
    while above not in barred and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    return above in barred or (
        is_folder and any(one.startswith(os.path.join(target, "")) for one in barred)
    )


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
