"""The images of a large folder, kept from one start to the next: a million names take long to read.

The list of a folder of at least MANY images is kept in ~/.cache/cnn_jax/folders, or below
$XDG_CACHE_HOME, and taken again while no folder in it has changed: files were neither added, nor
removed, nor renamed. What becomes of the content of a file is not its business; nor does it notice
that a file without a suffix has become an image, or that the target of a link has gone.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_jax import scratch

VERSION = 1  # of the order, of what counts, and of the form
MANY = 20_000  # images
TICK = 2_000_000_000  # nanoseconds, by which clocks of file systems are coarse


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """What was found in a folder.

    Attributes:
        examples: (name, label) of every image, in order.
        said: what is to be said about it.
        left_out: reason -> files.
        folders: folder -> time of its last change, in nanoseconds, as it was read.
        began: when reading began, in nanoseconds.
    """

    examples: list[tuple[str, int]]
    said: list[str]
    left_out: dict[str, list[str]]
    folders: dict[str, int]
    began: int


class Place(NamedTuple):
    """Where the list of a folder is kept."""

    file: Path

    def read(self) -> Listing | None:
        """The list, if no folder has changed; else None."""
        try:
            with np.load(self.file, allow_pickle=False) as saved:
                about = json.loads(saved["about"].tobytes())
                if not _unchanged(about["folders"]):
                    return None
                names = os.fsdecode(saved["names"].tobytes()).split("\0")
                examples = list(zip(names, saved["labels"].tolist(), strict=True))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return Listing(examples=examples, **about)

    def write(self, listing: Listing) -> None:
        """Keeps a list, whole or not at all; where nothing can be written, not at all.

        A folder that changed a moment before it was read could change again within the same tick.
        """
        newest = max(listing.folders.values(), default=0)
        if len(listing.examples) < MANY or newest > listing.began - TICK:
            return
        about = dataclasses.asdict(dataclasses.replace(listing, examples=[]))
        del about["examples"]
        names = os.fsencode("\0".join(name for name, _ in listing.examples))
        partial = self.file.with_name(f"{self.file.stem}.{os.getpid()}.npz")
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                partial,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                names=np.frombuffer(names, np.uint8),
                labels=np.array([label for _, label in listing.examples], np.int32),
            )
            partial.replace(self.file)


def place_of(root: Path, part: Path, classes: Sequence[str]) -> Place | None:
    """Where the list of a part of a folder is kept; None if there is no place for it."""
    directory = next(scratch.caches(), None)
    if directory is None:
        return None
    about = repr((VERSION, os.path.abspath(root), os.fspath(root), os.fspath(part), [*classes]))
    mark = hashlib.blake2b(about.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return Place(directory / "folders" / f"{mark}.npz")


def _unchanged(folders: dict[str, int]) -> bool:
    return all(os.stat(folder).st_mtime_ns == changed for folder, changed in folders.items())
