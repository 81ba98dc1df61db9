"""Figures of a run, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import figure_files
from cnn_jax.printable import in_figure
from cnn_jax.train.log import read_rows
from cnn_jax.typing import PyTree

RIGHT, WRONG = "#0072b2", "#d55e00"


def learning_curves(metrics: str | Path, path: str | Path) -> None:
    """Draws training metrics and those of evaluations against the step.

    Args:
        metrics: path of a run's metrics.jsonl.
        path: path of the PNG.
    """
    rows = read_rows(metrics)
    by_split = {
        split: [row for row in rows if row["split"] == split] for split in ("train", "val", "test")
    }
    names = ["loss", *(n for n in ("accuracy", "mean_iou", "ap") if any(n in row for row in rows))]
    figure = Figure(figsize=(5 * (len(names) + 1), 4), layout="constrained")
    axes = figure.subplots(1, len(names) + 1)
    for axis, name in zip(axes, [*names, "learning_rate"], strict=True):
        for split, some in by_split.items():
            points = [(row["step"], row[name]) for row in some if row.get(name) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=split, marker="." * (split != "train"))
        axis.set(xlabel="step", ylabel=name.replace("_", " "))
        axis.grid(alpha=0.3)
        if name == "loss":
            axis.set_yscale("log")
        if axis.lines:
            axis.legend()
    figure_files.save(figure, path)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], path: str | Path) -> None:
    """Draws a confusion matrix; rows are true classes, coloured by the fraction of their examples.

    Args:
        counts: [K, K].
        class_names: K names.
        path: path of the PNG.
    """
    counts = np.asarray(counts, np.int64)
    classes = len(counts)
    names = (
        [in_figure(name) for name in class_names] if classes <= 30 else []
    )  # otherwise illegible
    # a letter is at most a ninth of an inch high and wide; most names fit into the 3 inches
    letters = max((len(line) for name in names for line in name.split("\n")), default=0)
    side = min(14.0, 3 + 0.45 * classes) + max(0, letters - 12) / 9
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="predicted", ylabel="true")
    if names:
        axis.set_xticks(range(classes), names, rotation=90)
        axis.set_yticks(range(classes), names)
        for row, column in zip(*np.nonzero(counts), strict=True):
            share = counts[row, column] / counts[row].sum()
            axis.text(
                column,
                row,
                counts[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.5 else "black",
            )
    figure_files.save(figure, path)


def predictions(
    images: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    path: str | Path,
) -> None:
    """Draws a sheet of images with their predictions; mistakes are red and name the truth.

    Args:
        images: [B, H, W, C] uint8, or [B, L, C] for sequences.
        labels: [B] int.
        logits: [B, K].
        class_names: K names.
        path: path of the PNG.
    """
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = int(np.ceil(len(images) / columns))
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponents / exponents.sum(-1, keepdims=True)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows), layout="constrained")
    for axis in figure.subplots(rows, columns, squeeze=False).ravel():
        axis.set_axis_off()
    for axis, image, label, shares in zip(figure.axes, images, labels, probabilities, strict=False):
        if image.ndim == 3:
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image[..., :3], cmap="gray")
        elif image.ndim == 2:
            axis.plot(image)
        else:  # a volume: its middle slice
            axis.imshow(image[len(image) // 2, ..., 0], cmap="gray")
        said = int(shares.argmax())
        text = f"{class_names[said]} {shares[said]:.0%}"
        if said != label:
            text += f"\nis {class_names[label]}"
        axis.set_title(in_figure(text), fontsize=8, color=RIGHT if said == label else WRONG)
    figure_files.save(figure, path)


def first_filters(params: PyTree, path: str | Path) -> None:
    """Draws the kernels of the first layer, each scaled to its own range.

    A convolution [*window, in, out] with up to three input channels is shown in colour, with more
    as their mean. The first layer [in, out] of a fully connected network is shown as a matrix.

    Args:
        params: parameters of the network, in the order of its layers.
        path: path of the PNG.
    """
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    windows = [leaf for leaf in kernels if leaf.ndim > 2]
    kernel = np.asarray((windows or kernels)[0], np.float32)
    figure = Figure(figsize=(6, 6), layout="constrained")
    if kernel.ndim == 2:
        axis = figure.subplots()
        axis.imshow(kernel, aspect="auto", cmap="gray")
        axis.set(xlabel="unit", ylabel="input")
        figure_files.save(figure, path)
        return
    filters = np.moveaxis(kernel, -1, 0)  # [out, *window, in]
    if filters.shape[-1] != 3:
        filters = filters.mean(-1)  # [out, *window]
    elif kernel.ndim == 3:
        filters = filters.mean(-1)
    columns = int(np.ceil(np.sqrt(len(filters))))
    rows = int(np.ceil(len(filters) / columns))
    for axis in figure.subplots(rows, columns, squeeze=False).ravel():
        axis.set_axis_off()
    for axis, one in zip(figure.axes, filters, strict=False):
        low, high = one.min(), one.max()
        scaled = (one - low) / max(high - low, 1e-12)
        if kernel.ndim == 3:
            axis.plot(one)
        elif kernel.ndim == 5:
            axis.imshow(scaled[len(scaled) // 2], cmap="gray")
        else:
            axis.imshow(scaled, cmap="gray")
    figure_files.save(figure, path)
