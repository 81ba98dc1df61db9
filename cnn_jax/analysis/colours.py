"""Colours that people of any colour vision tell apart, and the marks and lines that say the same.

Distances are Euclidean in CIELAB, under normal vision and under the two frequent forms of colour
blindness as simulated by Machado 2009, doi:10.1109/TVCG.2009.113, table 1 at full severity. About
2 can just be seen side by side; 20 and more are told apart at a glance.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito 2008, "Color Universal Design"
BLUE, VERMILION, YELLOW, PURPLE = "#0072b2", "#d55e00", "#f0e442", "#cc79a7"
RIGHT, WRONG, MISSED = BLUE, VERMILION, PURPLE
RIGHT_MARK, WRONG_MARK = "\u2713", "\u2717"
RIGHT_LINE, WRONG_LINE, MISSED_LINE = "-", "--", ":"

# of the lines of a figure, one after the other: none is told from another by its colour alone
LINES = (BLUE, VERMILION, "#007a5a", "#b0528a", "#56b4e9", "#b57500", "#000000", "#7a7a7a")
DASHES: Sequence[Any] = (
    *("-", "--", "-.", ":"),
    *((0, (5, 1, 1, 1)), (0, (6, 2)), (0, (3, 1)), (0, (1, 2))),
)

_VISION: dict[str, Any] = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
}  # fmt: skip
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
_WHITE = _TO_XYZ.sum(1)
_MOST = 256  # classes of a mask of bytes
# lightness of a class's colour: as far in CIELAB as others, but a dark blue on black is not seen
DARKEST, LIGHTEST = 30, 94
_GRID = 17  # steps of a channel between two colours that are considered


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of colours as the vision sees it that tells them apart worst.

    Args:
        a: [n, 3] in 0..255.
        b: [m, 3].

    Returns:
        [n, m].
    """
    each = [
        np.linalg.norm(_lab(a, vision)[:, None] - _lab(b, vision)[None], axis=-1)
        for vision in _VISION
    ]
    return np.min(each, axis=0)


def classes(count: int) -> np.ndarray:
    """uint8 [K, 3]: black for class 0, and colours that differ from it, white and each other.

    A class has the same colour whatever the number of classes: each is the colour that is farthest
    from all before it.
    """
    return np.resize(_ordered(), (count, 3))


@functools.cache
def _ordered() -> np.ndarray:
    along = np.arange(0, 256, _GRID)
    grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)
    light = _lab(grid, "normal")[:, 0]
    grid = grid[(light > DARKEST) & (light < LIGHTEST)]
    taken = [np.array([0, 0, 0]), *(from_hex(name) for name in (BLUE, VERMILION, YELLOW))]
    nearest = distance(grid, np.array([*taken, [255, 255, 255]])).min(1)
    while len(taken) < _MOST:
        best = grid[nearest.argmax()]
        taken.append(best)
        nearest = np.minimum(nearest, distance(grid, best[None])[:, 0])
    return np.array(taken, np.uint8)


def from_hex(name: str) -> np.ndarray:
    """[3] of '#rrggbb'."""
    return np.array(list(bytes.fromhex(name[1:])))


def _lab(colours: np.ndarray, vision: str) -> np.ndarray:
    """CIELAB coordinates [..., 3], for white D65."""
    share = np.asarray(colours, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(_VISION[vision]), 0, 1)
    xyz = seen @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
