"""Saves figures as files, and names the files."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

LONGEST_NAME = 255  # bytes, on most file systems


def named_after(path: str | Path, ending: str) -> str:
    """'cat_boxes.png' for 'in/cat.jpg' and '_boxes.png'; a name that is too long is shortened."""
    stem = os.fsencode(Path(path).stem)[: LONGEST_NAME - len(ending)]
    return os.fsdecode(stem) + ending


def distinct(paths: Sequence[str]) -> list[str]:
    """Names for the figures of several images: ['cat', 'cat-2'] for a/cat.png and b/cat.png.

    One path has one name, however often it is given.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    stems = {Path(path).stem.casefold() for path in paths}
    for path in dict.fromkeys(paths):
        stem, number = Path(path).stem, 1
        name = stem
        while name.casefold() in taken or (number > 1 and name.casefold() in stems):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names[path] = name + Path(path).suffix
    return [names[path] for path in paths]


def check_apart(
    paths: Sequence[str], names: Sequence[str], directory: Path, endings: Sequence[str]
) -> None:
    """Raises ValueError if one of the images would be overwritten by a figure of one of them.

    Args:
        paths: the images.
        names: of their figures, see `distinct`.
        directory: where these are written.
        endings: of the figures of an image.
    """
    images = {os.path.realpath(path): path for path in paths}
    for name in names:
        for ending in endings:
            place = directory / named_after(name, ending)
            if os.path.realpath(place) in images:
                raise ValueError(
                    f"{place} is one of the images, and would be overwritten: choose another "
                    "directory for the figures."
                )


def save(figure: Figure, path: str | Path | IO[bytes], *, dpi: int = 100) -> None:
    """Writes a figure; characters that the fonts lack show as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        figure.savefig(path, dpi=dpi)
