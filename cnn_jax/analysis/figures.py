"""Figures of a run, as PNG files."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import colours, figure_files, texts
from cnn_jax.printable import in_figure
from cnn_jax.train.log import read_rows
from cnn_jax.typing import PyTree

SPLITS = ("train", "val", "test")
CELL = 0.45  # inches of a confusion matrix's cell
SHEET = 1.7  # inches of an image on a sheet
NUMBERED = 64  # filters with room for their numbers


def learning_curves(metrics: str | Path, path: str | Path, *, harder: Sequence[str] = ()) -> None:
    """Draws training metrics and those of evaluations against the step.

    Where the training loss ends above that of the evaluation, the figure says what of the settings
    makes it so.

    Args:
        metrics: path of a run's metrics.jsonl.
        path: path of the PNG.
        harder: what makes examples harder, or their loss larger, in training alone.
    """
    rows = read_rows(metrics)
    by_split = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    names = ["loss", *(n for n in ("accuracy", "mean_iou", "ap") if any(n in row for row in rows))]
    figure = Figure(figsize=(5 * (len(names) + 1), 4), layout="constrained")
    axes = figure.subplots(1, len(names) + 1)
    for axis, name in zip(axes, [*names, "learning_rate"], strict=True):
        for i, (split, some) in enumerate(by_split.items()):
            points = [(row["step"], row[name]) for row in some if row.get(name) is not None]
            if points:
                axis.plot(
                    *zip(*points, strict=True), label=split, color=colours.LINES[i],
                    linestyle=colours.DASHES[i], marker="os^"[i], markersize=4,
                    markevery=max(len(points) // 20, 1),
                )  # fmt: skip
        axis.set(xlabel="step", ylabel=name.replace("_", " "))
        axis.grid(alpha=0.3)
        if name == "loss":
            axis.set_yscale("log")
            if note := _why_above(by_split, harder):
                axis.set_title(note, fontsize=8)
        if axis.lines:
            axis.legend()
    figure_files.save(figure, path)


def _why_above(by_split: Mapping[str, Sequence[Mapping]], harder: Sequence[str]) -> str:
    """Why the training loss ends above that of an evaluation; '' if it does not."""
    last = {}
    for split, rows in by_split.items():
        losses = [row["loss"] for row in rows if row.get("loss") is not None]
        if losses:
            last[split] = losses[-1]
    below = [split for split in SPLITS[1:] if split in last]
    if not harder or "train" not in last or not below:
        return ""
    if last["train"] <= min(last[split] for split in below):
        return ""
    return texts.wrapped(
        f"The training loss is above the {below[0]} loss: in training alone there is "
        f"{', '.join(harder)}.",
        texts.letters(4.6, 8),
        lines=3,
    )


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
    side = min(14.0, 3 + CELL * classes) + max(0, letters - 12) / 9
    # the cells of many classes are smaller than CELL, and a count must not reach into the next
    cell = min(CELL, 11 / max(classes, 1))
    longest = len(str(counts.max(initial=0)))
    size = min(8.0, cell * 72 / (texts.LETTER * (longest + 0.5)))
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
                fontsize=size,
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
    """Draws a sheet of images with their predictions; mistakes are marked and name the truth.

    Right ones have a tick and a thin frame, wrong ones a cross and a thick, broken one.

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
    figure = Figure(figsize=(SHEET * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(images) :]:
        axis.set_axis_off()
    for axis, image, label, shares in zip(axes, images, labels, probabilities, strict=False):
        if image.ndim == 3:
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image[..., :3], cmap="gray")
        elif image.ndim == 2:
            axis.plot(image)
        else:  # a volume: its middle slice
            axis.imshow(image[len(image) // 2, ..., 0], cmap="gray")
        axis.set(xticks=[], yticks=[])
        said = int(shares.argmax())
        right = said == label
        mark = colours.RIGHT_MARK if right else colours.WRONG_MARK
        share = f" {shares[said]:.0%}"
        letters = texts.letters(SHEET - 0.1, 8)
        lines = [mark + " " + texts.cut(class_names[said], letters - len(share) - 2) + share]
        if not right:
            lines.append("is " + texts.cut(class_names[label], letters - 3))
        colour = colours.RIGHT if right else colours.WRONG
        axis.set_title(in_figure("\n".join(lines)), fontsize=8, color=colour)
        axis.spines[:].set(
            color=colour, linewidth=0.8 if right else 2.2,
            linestyle=colours.RIGHT_LINE if right else colours.WRONG_LINE,
        )  # fmt: skip
    figure_files.save(figure, path)


def first_filters(params: PyTree, path: str | Path) -> None:
    """Draws the kernels of the first layer.

    A convolution [*window, in, out] with three input channels is shown in colour, each kernel
    scaled to its own range; others as the mean over their inputs, all on one scale with white at
    zero. The first layer [in, out] of a fully connected network is shown as a matrix.

    Args:
        params: parameters of the network, in the order of its layers.
        path: path of the PNG.
    """
    found = [
        (jax.tree_util.keystr(place[:-1], simple=True, separator="/"), leaf)
        for place, leaf in jax.tree_util.tree_leaves_with_path(params)
        if leaf.ndim > 1
    ]
    name, leaf = next((each for each in found if each[1].ndim > 2), found[0])
    kernel = np.asarray(leaf, np.float32)
    figure = Figure(figsize=(6.6, 6.4), layout="constrained")
    size = "x".join(str(side) for side in kernel.shape[:-2])
    if kernel.ndim == 2:
        figure.suptitle(in_figure(f"{name}: weights of {kernel.shape[1]} units"), fontsize=10)
        axis = figure.subplots()
        limit = _limit(kernel)
        shown = axis.imshow(kernel, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(xlabel="unit", ylabel="input")
        figure.colorbar(shown, ax=axis, label="weight", fraction=0.05)
        figure_files.save(figure, path)
        return
    inputs, count = kernel.shape[-2:]
    filters = np.moveaxis(kernel, -1, 0)  # [out, *window, in]
    coloured = kernel.ndim == 4 and inputs == 3
    if not coloured:
        filters = filters.mean(-1)  # [out, *window]
    what = f"{name}: {count} filters of {size}"
    if inputs > 1:
        what += "\n3 channels in colour" if coloured else f"\nmean over {inputs} channels"
    if kernel.ndim == 5:
        what += ", middle slice"
    figure.suptitle(in_figure(what), fontsize=10)
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    axes = figure.subplots(rows, columns, squeeze=False)
    limit = _limit(filters)
    last: Any = None
    for i, (axis, one) in enumerate(itertools.zip_longest(axes.flat, filters)):
        axis.set_axis_off()
        if one is None:
            continue
        if count <= NUMBERED:
            axis.set_title(str(i), fontsize=7, pad=1)
        if kernel.ndim == 3:
            axis.axhline(0, color="#999999", linewidth=0.6)
            axis.plot(one, marker="o", markersize=2, color=colours.BLUE)
            axis.set_ylim(-1.05 * limit, 1.05 * limit)
        elif coloured:
            low, high = one.min(), one.max()
            axis.imshow((one - low) / max(high - low, 1e-12))
        else:
            one = one[len(one) // 2] if kernel.ndim == 5 else one
            last = axis.imshow(one, cmap="RdBu_r", vmin=-limit, vmax=limit)
    if last is not None:
        figure.colorbar(last, ax=axes, label="weight", fraction=0.04)
    elif coloured:
        figure.supxlabel("each filter scaled from its lowest to its highest weight", fontsize=8)
    else:
        figure.supxlabel(f"weights from {-limit:.2g} to {limit:.2g}, the line is 0", fontsize=8)
    figure_files.save(figure, path)


def _limit(values: np.ndarray) -> float:
    """The largest magnitude, as the end of a scale around zero."""
    return max(float(np.abs(values).max(initial=0)), 1e-12)
