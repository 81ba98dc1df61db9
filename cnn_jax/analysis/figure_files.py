"""How a figure becomes a file."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def save(figure: Figure, path: str | Path, *, dpi: int = 100) -> None:
    """Writes a figure; a script that the fonts here lack shows as boxes, and is no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        figure.savefig(path, dpi=dpi)
