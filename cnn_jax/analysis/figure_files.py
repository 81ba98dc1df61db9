"""Saves figures as files, and names the files."""

import os
import warnings
from pathlib import Path
from typing import IO

from matplotlib.figure import Figure

LONGEST_NAME = 255  # bytes, on most file systems


def named_after(path: str | Path, ending: str) -> str:
    """'cat_boxes.png' for 'in/cat.jpg' and '_boxes.png'; a name that is too long is shortened."""
    stem = os.fsencode(Path(path).stem)[: LONGEST_NAME - len(ending)]
    return os.fsdecode(stem) + ending


def save(figure: Figure, path: str | Path | IO[bytes], *, dpi: int = 100) -> None:
    """Writes a figure; characters that the fonts lack show as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        figure.savefig(path, dpi=dpi)
