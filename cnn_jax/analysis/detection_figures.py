"""Figures of detections: boxes with scores, missed objects, and precision against recall."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import chex
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cnn_jax import shapes
from cnn_jax.analysis import figure_files
from cnn_jax.metrics import average_precision
from cnn_jax.printable import in_figure

FOUND, WRONG, MISSED = "#0072b2", "#d55e00", "#cc79a7"

SHOWN = 0.3  # lowest score of a detection that is drawn
OVERLAP = 0.5  # lowest IoU of a correct detection
COLUMNS = 4


def draw_boxes(
    axis: Axes,
    image: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[str],
    *,
    dashed: bool = False,
) -> None:
    """Draws boxes [n, 4], (left, top, right, bottom) in pixels, over an image uint8 [H, W, C]."""
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[-1] == 1 else {}
    axis.imshow(
        image[..., 0] if grey else image[..., :3],
        extent=(0, image.shape[1], image.shape[0], 0),
        **grey,
    )
    for (left, top, right, bottom), text, colour in zip(boxes, texts, colours, strict=True):
        axis.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                fill=False,
                edgecolor=colour,
                linewidth=1.5,
                linestyle="--" if dashed else "-",
            )
        )
        axis.text(
            left, top, in_figure(text), fontsize=6, color="black", verticalalignment="bottom",
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )  # fmt: skip
    axis.set(xticks=[], yticks=[])


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
    for axis, index in zip(axes, chosen, strict=False):
        axis.axis("on")
        shown, right, missed = verdicts[index]
        found, lost = detections[index][shown], truth[index][missed]
        image, factor = images[index]
        scale = np.tile(factor, 2)
        names = [f"{class_names[int(row[5])]} {row[4]:.2f}" for row in found]
        colours = [FOUND if each else WRONG for each in right]
        draw_boxes(axis, image, found[:, :4] * scale, names, colours)
        names = [class_names[int(row[5])] for row in lost]
        boxes = lost[:, :4] * scale
        draw_boxes(axis, image, boxes, names, [MISSED] * len(lost), dashed=True)
    handles = [
        Rectangle((0, 0), 1, 1, color=colour, label=label)
        for colour, label in ((FOUND, "found"), (WRONG, "wrong"), (MISSED, "missed"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    figure_files.save(figure, path)


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
    with shapes.wanted(what, detections=detections, truth=truth):
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
    labels: list[str] = []
    for name, curve in list(zip(class_names, curves, strict=True))[:20]:
        if (curve.precision > -1).all():
            label = f"{name} ({curve.precision.mean():.3f})"
            lines += axis.plot(curve.recall, curve.precision)
            labels.append(in_figure(label))
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axis.set_title("average precision at IoU 0.5")
    axis.legend(lines, labels, fontsize=7, loc="lower left")
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
    texts = [f"{class_names[k]} {s:.2f}" for k, s in zip(found.labels, found.scores, strict=True)]
    colours = [f"C{k % 10}" for k in found.labels]
    draw_boxes(axis, np.asarray(image), found.boxes, texts, colours)
    axis.set_axis_off()
    written = directory / figure_files.named_after(path, "_boxes.png")
    figure_files.save(figure, written)
    return written
