"""A training batch as one image: examples as the network is shown them, with what they teach."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cnn_jax.analysis import detection_figures, figure_files, segmentation_figures
from cnn_jax.analysis.look import drawn, sheet
from cnn_jax.analysis.look.contents import Sight
from cnn_jax.printable import in_figure

COLUMNS = 4
CELL, GAP, TEXT = 2.4, 0.06, 0.2  # inches: side of an example, its margin, the line above it
ABOVE, BELOW = 0.35, 0.55  # inches: of the title, and of the legend
NAMED = 24  # classes of masks in the legend


def write(
    sights: Sequence[Sight],
    class_names: Sequence[str],
    path: str | Path,
    *,
    name: str = "",
    said: str = "",
) -> None:
    """Draws a sheet of examples with their classes, boxes or masks.

    Args:
        sights: the examples.
        class_names: K names.
        path: path of the PNG.
        name: of the experiment.
        said: what batch it is.
    """
    rows = max(-(-len(sights) // COLUMNS), 1)
    width, height = CELL * COLUMNS, (CELL + TEXT) * rows + ABOVE + BELOW
    figure = Figure(figsize=(width, height))
    title = f"{in_figure(name)}: {said}" if name else said
    figure.text(0.5, 1 - 0.1 / height, title, ha="center", va="top", fontsize=9)
    for i, sight in enumerate(sights):
        left, top = i % COLUMNS * CELL, height - ABOVE - i // COLUMNS * (CELL + TEXT) - TEXT
        # places of its own: a layout engine took half of all the time
        place = (left + GAP, top - CELL + GAP, CELL - 2 * GAP, CELL - 2 * GAP)
        axis = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
        axis.set_axis_off()
        if sight.boxes is not None:
            _draw_boxes(axis, sight, class_names)
        elif sight.mask is not None:
            sheet.draw(axis, _overlaid(sight, len(class_names)))
        else:
            sheet.draw(axis, sight)
        axis.set_title(sheet.cut(sight.text, 34), fontsize=7, pad=3)
    _legend(figure, sights, class_names)
    figure_files.save(figure, path)


def _draw_boxes(axis: Axes, sight: Sight, class_names: Sequence[str]) -> None:
    labels = np.asarray(sight.labels)[: drawn.MOST_BOXES]
    boxes = np.asarray(sight.boxes)[: drawn.MOST_BOXES]
    names = [str(class_names[k]) for k in labels]
    styles = [(drawn.colour_of(int(k)), "-") for k in labels]
    detection_figures.draw_boxes(axis, drawn.flat(sight.pixels), boxes, names, styles)


def _overlaid(sight: Sight, classes: int) -> Sight:
    """The image with its mask, in the colours of the run's other figures."""
    mask = drawn.flat_mask(np.asarray(sight.mask))
    pixels = segmentation_figures.overlay(drawn.flat(sight.pixels), mask, classes)
    white = (pixels // 2 + 128).astype(np.uint8)
    return Sight(np.where((mask == drawn.IGNORE)[..., None], white, pixels))


def _legend(figure: Figure, sights: Sequence[Sight], class_names: Sequence[str]) -> None:
    """The colours of the classes of masks; what does not count is white."""
    masks = [np.unique(sight.mask) for sight in sights if sight.mask is not None]
    if not masks:
        return
    present = np.unique(np.concatenate(masks))
    colours = segmentation_figures.palette(len(class_names)) / 255
    handles = [
        Patch(color=colours[k], label=sheet.cut(str(class_names[k]), 24))
        for k in present
        if 0 < k < len(class_names)
    ][:NAMED]
    if drawn.IGNORE in present:
        handles.append(Patch(facecolor="white", edgecolor="black", label="does not count"))
    if handles:
        columns = min(len(handles), 8)
        figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=7)
