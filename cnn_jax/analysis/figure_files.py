"""Saves figures as files."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, path: str | Path, *, dpi: int = 100) -> None:
    """Writes a figure; characters that the fonts lack show as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        figure.savefig(path, dpi=dpi)
