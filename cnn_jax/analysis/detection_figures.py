"""Figures of detections: boxes with scores, missed objects, and precision against recall."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from cnn_jax import shapes
from cnn_jax.analysis import colours, figure_files, texts
from cnn_jax.metrics import average_precision
from cnn_jax.printable import in_figure

# name, colour and line of each kind of box
KINDS = {
    "found": (colours.RIGHT, colours.RIGHT_LINE),
    "wrong": (colours.WRONG, colours.WRONG_LINE),
    "missed": (colours.MISSED, colours.MISSED_LINE),
}

SHOWN = 0.3  # lowest score of a detection that is drawn
OVERLAP = 0.5  # lowest IoU of a correct detection
COLUMNS = 4


def draw_boxes(
    axis: Axes,
    image: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    styles: Sequence[tuple[str, str]],
) -> list[Text]:
    """Draws boxes over an image.

    Args:
        axis: where.
        image: uint8 [H, W, C].
        boxes: [n, 4], (left, top, right, bottom) in pixels.
        texts: text of each box.
        styles: colour and line of each box.

    Returns:
        the texts, which may lie over each other until `texts.apart` has moved them.
    """
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[-1] == 1 else {}
    axis.imshow(
        image[..., 0] if grey else image[..., :3],
        extent=(0, image.shape[1], image.shape[0], 0),
        **grey,
    )
    drawn = []
    for (left, top, right, bottom), text, (colour, line) in zip(boxes, texts, styles, strict=True):
        place, width, height = (left, top), right - left, bottom - top
        # a thin dark line around the coloured one shows it on any ground
        axis.add_patch(
            Rectangle(place, width, height, fill=False, edgecolor="black", linewidth=2.4, alpha=0.5)
        )
        axis.add_patch(
            Rectangle(place, width, height, fill=False, edgecolor=colour, linewidth=1.5,
                      linestyle=line)
        )  # fmt: skip
        drawn.append(axis.text(
            left, top, in_figure(text), fontsize=6, color="white" if _dark(colour) else "black",
            verticalalignment="bottom",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
        ))  # fmt: skip
    axis.set(xticks=[], yticks=[])
    return drawn


def _dark(colour: str) -> bool:
    """Whether white letters are read better on it than black ones."""
    red, green, blue = colours.from_hex(colour)
    return bool(0.299 * red + 0.587 * green + 0.114 * blue < 140)


def predictions(
    batches: Iterable[Mapping[str, np.ndarray]],
    detections: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str],
    path: str | Path,
    *,
    count: int = 12,
    mistakes: int | None = None,
) -> None:
    """Draws a sheet of images with correct, wrong and missing detections.

    Args:
        batches: evaluation batches in the order of the rows: 'image', 'factor', 'extent', 'mask'.
        detections, truth: [B, M, 6] and [B, N, 6], see `cnn_jax.metrics.average_precision`.
        class_names: K names.
        path: path of the PNG.
        count: number of images on the sheet.
        mistakes: how many of these may have mistakes, which come first; None for half of them.
    """
    verdicts = [judge(d, t) for d, t in zip(detections, truth, strict=True)]
    faults = [int((~right).sum() + missed.sum()) for _, right, missed in verdicts]
    wrong = [i for i, n in enumerate(faults) if n]
    wrong = wrong[: count // 2 if mistakes is None else mistakes]
    chosen = wrong + [i for i, n in enumerate(faults) if not n][: count - len(wrong)]
    images = _images(batches, set(chosen))
    chosen = [i for i in chosen if i in images]
    rows = max(-(-len(chosen) // COLUMNS), 1)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.8 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    placed = []
    for axis, index in zip(axes, chosen, strict=False):
        axis.axis("on")
        shown, right, missed = verdicts[index]
        found, lost = detections[index][shown], truth[index][missed]
        image, factor = images[index]
        scale = np.tile(factor, 2)
        names = [f"{_short(class_names[int(row[5])])} {row[4]:.2f}" for row in found]
        kinds = ["found" if each else "wrong" for each in right]
        names += [_short(class_names[int(row[5])]) for row in lost]
        kinds += ["missed"] * len(lost)
        boxes = np.concatenate([found[:, :4], lost[:, :4]]) * scale
        drawn = draw_boxes(axis, image, boxes, names, [KINDS[kind] for kind in kinds])
        placed.append((axis, drawn, boxes))
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour, linestyle=line, linewidth=1.5,
                  label=name)
        for name, (colour, line) in KINDS.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, handlelength=3)
    for axis, drawn, boxes in placed:
        texts.apart(axis, drawn, boxes)
    figure_files.save(figure, path)


def _short(name: str) -> str:
    """A name that leaves room for a score beside it."""
    return texts.cut(name, texts.letters(2.4, 6) - 6)


def judge(detections: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches an image's detections [M, 6], best first, with its truth [N, 6].

    Returns:
        (indices of the detections that are shown; bool, whether each of these is correct; bool [N],
        whether each object was missed). Each object is found once, by the best detection of its
        class with an IoU of at least OVERLAP.

    Raises:
        ValueError: if a shape is not that above.
    """
    what = "An image has detections [M, 6] and truth [N, 6]"
    with shapes.wanted(what, detections=detections, truth=truth) as chex:
        chex.assert_shape([detections, truth], (None, 6))
    shown = np.flatnonzero((detections[:, 5] >= 0) & (detections[:, 4] >= SHOWN))
    free = (truth[:, 5] >= 0) & (truth[:, 4] == 0)
    right = np.zeros(len(shown), bool)
    for i, row in enumerate(detections[shown]):
        overlap = np.where(free & (truth[:, 5] == row[5]), _iou(row[:4], truth[:, :4]), 0)
        if overlap.max(initial=0) >= OVERLAP:
            right[i], free[overlap.argmax()] = True, False
    return shown, right, free


def precision_recall(
    detections: np.ndarray, truth: np.ndarray, class_names: Sequence[str], path: str | Path
) -> None:
    """Draws precision against recall at an IoU of 0.5, one line per class, of the first 20."""
    curves = average_precision.precision_recall(detections, truth, len(class_names))
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axis = figure.subplots()
    lines: list[Any] = []
    named: list[str] = []
    for name, curve in list(zip(class_names, curves, strict=True))[:20]:
        if (curve.precision > -1).all():
            label = f"{name} ({curve.precision.mean():.3f})"
            style = len(lines)
            lines += axis.plot(
                curve.recall, curve.precision,
                color=colours.LINES[style % len(colours.LINES)],
                # the second round of colours has other lines than the first
                linestyle=colours.DASHES[(style + style // len(colours.LINES)) % 8],
            )  # fmt: skip
            named.append(in_figure(label))
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axis.set_title("average precision at IoU 0.5")
    axis.legend(lines, named, fontsize=7, loc="lower left", handlelength=3.5)
    figure_files.save(figure, path)


def _images(batches, wanted: set[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The images of these indices without their padding, and their factors."""
    found, first = {}, 0
    for batch in batches:
        size = len(batch["mask"])
        for i in wanted & set(range(first, first + size)):
            if batch["mask"][i - first]:
                height, width = batch["extent"][i - first].astype(int)
                image = batch["image"][i - first][:height, :width]
                found[i] = image, batch["factor"][i - first]
        first += size
        if first > max(wanted, default=-1):
            break
    return found


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    overlap = np.maximum(sides, 0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return overlap / np.maximum(areas - overlap, 1e-9)


def draw(
    image: Image.Image, found: Any, class_names: Sequence[str], directory: Path, path: str
) -> Path:
    """Writes the image with its boxes, '<name>_boxes.png', at about its own size.

    Args:
        image: the image as it was opened.
        found: boxes [n, 4] in pixels of the image, scores [n] and labels [n].
        class_names: K names.
        directory: the directory to write to, created if missing.
        path: path of the image, for the name of the file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    longest = max(image.size)
    inches = np.array(image.size) * np.clip(longest, 500, 2000) / longest / 100
    figure = Figure(figsize=tuple(inches), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    shown = [f"{class_names[k]} {s:.2f}" for k, s in zip(found.labels, found.scores, strict=True)]
    count = len(colours.LINES)
    styles = [(colours.LINES[k % count], colours.DASHES[k // count % count]) for k in found.labels]
    drawn = draw_boxes(axis, np.asarray(image), found.boxes, shown, styles)
    axis.set_axis_off()
    texts.apart(axis, drawn, found.boxes)
    written = directory / figure_files.named_after(path, "_boxes.png")
    figure_files.save(figure, written)
    return written
