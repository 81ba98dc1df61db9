"""Saves figures as files, and names the files."""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

# Fonts with Chinese characters, of the systems that people have.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei",
    "SimHei", "WenQuanYi Zen Hei", "Arial Unicode MS",
)  # fmt: skip
_CHINESE_FILES = ("notosanscjk", "pingfang", "hiragino", "msyh", "simhei", "wqy-zenhei")
_EAST_ASIAN = 0x2E80  # the first of their characters in Unicode
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
    """Writes a figure, with a font for Chinese characters if there is one.

    Characters that the fonts lack show as boxes, without a warning.
    """
    with _fonts(figure):
        figure.savefig(path, dpi=dpi)


def lay_out(figure: Figure) -> None:
    """Gives everything in a figure its place, as it will have when it is saved."""
    with _fonts(figure):
        figure.draw_without_rendering()


@contextlib.contextmanager
def _fonts(figure: Figure) -> Iterator[None]:
    texts = figure.findobj(Text)
    families = ["DejaVu Sans"]
    if any(ord(character) >= _EAST_ASIAN for text in texts for character in text.get_text()):
        families += _chinese()
    with warnings.catch_warnings(), matplotlib.rc_context({"font.family": families}):
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        for text in texts:
            if text.get_fontfamily() == ["sans-serif"]:  # no font of its own
                text.set_fontfamily(families)
        yield


@functools.cache
def _chinese() -> list[str]:
    """A font with Chinese characters; [] if there is none.

    Matplotlib lists the fonts once for all, and does not see those that were installed since.
    """
    known = {font.name for font in font_manager.fontManager.ttflist}
    if known.isdisjoint(CHINESE):
        for file in font_manager.findSystemFonts():
            if Path(file).stem.lower().startswith(_CHINESE_FILES):
                with contextlib.suppress(OSError, RuntimeError):
                    font_manager.fontManager.addfont(file)
        known = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in CHINESE if name in known][:1]
