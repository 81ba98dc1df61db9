"""Figures of an evaluation: reliability, and the figures of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import colours, figure_files
from cnn_jax.metrics.calibration import Reliability
from cnn_jax.printable import in_figure

SURE, LINE = colours.BLUE, colours.VERMILION
MOST_BARS = 40  # classes in a figure


def reliability_diagram(reliability: Reliability, path: str | Path) -> None:
    """Draws accuracy against confidence, over the number of predictions in each bin.

    Args:
        reliability: see `cnn_jax.metrics.calibration`.
        path: path of the PNG.
    """
    bins = len(reliability.examples)
    edges = np.arange(bins) / bins
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    accuracy = np.nan_to_num(reliability.accuracy)
    above.bar(edges, accuracy, 1 / bins, align="edge", color=SURE, edgecolor="white")
    above.plot([0, 1], [0, 1], color=LINE, linestyle="--", linewidth=1, label="as sure as right")
    above.legend(fontsize=8, loc="upper left")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.set_title(f"expected calibration error {reliability.error:.4f}")
    total = max(reliability.examples.sum(), 1)
    below.bar(edges, reliability.examples / total, 1 / bins, align="edge", color=SURE,
              edgecolor="white")  # fmt: skip
    below.set(xlabel="confidence", ylabel="share")
    figure_files.save(figure, path)


def class_bars(class_names: Sequence[str], values: np.ndarray, name: str, path: str | Path) -> None:
    """Draws a figure of each class, the lowest first; of many classes the lowest MOST_BARS.

    Args:
        class_names: [K].
        values: float [K], in 0..1; classes without a value are left out.
        name: name of the figure.
        path: path of the PNG.
    """
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")][:MOST_BARS]
    height = 1.2 + 0.24 * max(len(order), 1)
    figure = Figure(figsize=(5.5, height), layout="constrained")
    axis = figure.subplots()
    axis.barh(range(len(order)), values[order][::-1], color=SURE)
    axis.set_yticks(range(len(order)), [in_figure(class_names[i]) for i in order[::-1]], fontsize=8)
    axis.set(xlim=(0, 1), xlabel=name, ylim=(-0.6, len(order) - 0.4))
    axis.grid(axis="x", alpha=0.3)
    figure_files.save(figure, path)
