"""A look at the data as one image: class balance, examples before and after, similar pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_jax.analysis import figure_files
from cnn_jax.analysis.look import drawn
from cnn_jax.analysis.look.cards import short
from cnn_jax.analysis.look.contents import Look, Sight
from cnn_jax.printable import in_figure, printable

WIDTH, CELL = 11.0, 2.1  # inches: of the sheet, and of the height of a row of images
COLUMNS = 6
EXAMPLES = 12
CLASSES = 30  # bars
LARGEST = 300  # pixels along a side of an image
_OPACITY = 0.55


def write(look: Look, path: str | Path) -> None:
    """Writes the sheet.

    Args:
        look: what was found.
        path: of the PNG file.
    """
    rows = _rows(look)
    shown = min(len(look.class_names), CLASSES)
    above = 1.4 + 0.19 * shown
    height = above + CELL * len(rows)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.5, 1 - 0.2 / height, in_figure(look.dataset), ha="center", va="top", fontsize=13)
    box = (0.17, (height - above + 0.6) / height, 0.8, (above - 1.25) / height)
    _balance(figure.add_axes(box), look, shown)
    for i, (title, cells) in enumerate(rows):
        top = height - above - i * CELL
        figure.text(0.01, (top - 0.05) / height, title, va="top", fontsize=9)
        for j, (sight, text) in enumerate(cells):
            side = 1 / COLUMNS
            place = (j * side + 0.004, (top - CELL + 0.05) / height, side - 0.008, 1.65 / height)
            axis = figure.add_axes(place)
            axis.set_axis_off()
            draw(axis, sight)
            axis.set_title(cut(text, 26), fontsize=7, pad=2)
    figure_files.save(figure, path)


def _rows(look: Look) -> list[tuple[str, list[tuple[Sight, str]]]]:
    """Title and cells of each row of images."""
    found: list[tuple[str, list[tuple[Sight, str]]]] = []

    def add(title: str, cells: Sequence[tuple[Sight | None, str]]) -> None:
        kept = [(sight, text) for sight, text in cells if sight is not None]
        if kept:
            found.append((title, kept))

    for start in range(0, min(len(look.trained), EXAMPLES), COLUMNS):
        some = look.trained[start : start + COLUMNS]
        add("train, as stored", [(each.stored, short(each.name, 28)) for each in some])
        if look.input:
            title = f"the same, augmented for step {look.step}"
            add(title, [(each.shown, each.shown.text) for each in some])
    some = look.evaluated[:COLUMNS]
    add(
        f"{look.evaluated_on}, as evaluated",
        [(e.shown, e.shown.text or short(e.name, 28)) for e in some],
    )
    for title, items in (("smallest", look.smallest), ("largest", look.largest)):
        cells = [(each.sight, str(each.numbers.get("class", ""))) for each in items[:COLUMNS]]
        add(f"{title} {look.measure}", cells)
    pairs = look.pairs[: COLUMNS // 2]
    add(
        "most similar across the splits",
        [
            (each.sight, "same pixels" if pair.same else f"{pair.correlation:.3f}")
            for pair in pairs
            for each in (pair.first, pair.second)
        ],
    )
    return found


def _balance(axis: Axes, look: Look, shown: int) -> None:
    places = np.arange(shown)
    height = 0.8 / len(look.splits)
    hatches = ("", "////", "....")
    for i, split in enumerate(look.splits):
        share = split.counts[:shown] / max(int(split.counts.sum()), 1)
        axis.barh(
            places + i * height, 100 * share, height, color=drawn.COLOURS[i], alpha=1 - 0.2 * i,
            hatch=hatches[i], label=f"{split.role}: {split.examples:,} examples",
        )  # fmt: skip
    axis.set_yticks(places + 0.4 - height / 2)
    axis.set_yticklabels([cut(name, 24) for name in look.class_names[:shown]], fontsize=7)
    axis.invert_yaxis()
    of = f", the first {shown} of {len(look.class_names):,} classes"
    title = f"class balance in {look.counted}" + (of if shown < len(look.class_names) else "")
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_xlabel("% of the split", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(look.splits))


def cut(text: str, most: int) -> str:
    """A name of any origin for a figure, of at most so many characters."""
    shown = printable(text)
    return in_figure(shown if len(shown) <= most else shown[: most - 1] + "\u2026")


def draw(axis: Axes, sight: Sight) -> None:
    """Draws a sight: curves, or an image or the slices of a volume with mask and boxes."""
    if sight.pixels.ndim == 2:
        axis.plot(sight.pixels[:, : len(drawn.COLOURS)], linewidth=0.8)
        return
    pixels = drawn.flat(sight.pixels).astype(np.float32)
    if sight.mask is not None:
        pixels = _overlaid(pixels, drawn.flat_mask(sight.mask))
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    step = max(1, max(pixels.shape) // LARGEST)
    shown = pixels[::step, ::step].round().astype(np.uint8)
    axis.imshow(shown, extent=extent, interpolation="nearest")
    lines: list[tuple[Any, str]] = []
    if sight.boxes is not None and sight.labels is not None:
        pairs = list(zip(sight.boxes, sight.labels, strict=True))[: drawn.MOST_BOXES]
        lines = [(box, drawn.colour_of(int(k))) for box, k in pairs]
    if sight.inner is not None:
        lines.append((sight.inner, drawn.COLOURS[1]))
    for (x0, y0, x1, y1), colour in lines:
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour))


def _overlaid(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.float32)
    for label in range(1, drawn.IGNORE):
        table[label] = tuple(bytes.fromhex(drawn.colour_of(label)[1:]))
    table[drawn.IGNORE] = 255
    mixed = (1 - _OPACITY) * pixels + _OPACITY * table[np.clip(mask, 0, drawn.IGNORE)]
    return np.where((mask > 0)[..., None], mixed, pixels)
