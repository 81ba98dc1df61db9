"""Figures of what a network has learned: feature maps and attributions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import colours, figure_files, texts
from cnn_jax.printable import in_figure


def activations(
    features: Mapping[str, Any], path: str | Path, *, example: int = 0, count: int = 8
) -> None:
    """Draws a row per layer: the feature maps with the strongest response to one example.

    Args:
        features: layer -> [B, *space, C], see `attribution.features`; layers without one or two
            spatial dimensions are left out.
        path: path of the PNG.
        example: index in the batch.
        count: number of maps per layer.

    Raises:
        ValueError: there is no layer to draw.
    """
    shown = {
        name: np.asarray(value[example], np.float32)
        for name, value in features.items()
        if value.ndim in (3, 4) and min(value.shape[1:-1]) > 1
    }
    if not shown:
        raise ValueError(
            "No layer has feature maps in one or two dimensions: give `features` one that has."
        )
    figure = Figure(figsize=(1.2 * count + 0.9, 1.6 * len(shown) + 0.2))
    figure.set_layout_engine("constrained", hspace=0.16, rect=(0, 0, 1, 1 - 0.2 / len(shown)))
    grid = figure.subplots(len(shown), count, squeeze=False)
    for row, (name, maps) in zip(grid, shown.items(), strict=True):
        strength = np.abs(maps).reshape(-1, maps.shape[-1]).max(0)
        best = strength.argsort()[::-1][:count]
        low, high = min(float(maps[..., best].min()), 0.0), float(maps[..., best].max())
        image = None
        for axis in row:
            axis.set_axis_off()
        for axis, channel in zip(row, best, strict=False):
            if maps.ndim == 2:  # a sequence
                axis.plot(maps[:, channel], linewidth=1, color=colours.BLUE)
                axis.set_ylim(low, max(high, low + 1e-12))
            else:
                image = axis.imshow(maps[..., channel], cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"map {channel}", fontsize=6, pad=2)
        size = "x".join(str(side) for side in maps.shape[:-1])
        scale = "" if image is not None else f", from {low:.2g} to {high:.2g}"
        row[0].annotate(
            in_figure(f"{name}: {size}, {maps.shape[-1]} maps{scale}"), (0, 1), (0, 13),
            xycoords="axes fraction", textcoords="offset points", fontsize=8,
        ).set_in_layout(False)  # it is wider than its axis  # fmt: skip
        if image is not None:
            bar = figure.colorbar(image, ax=list(row), fraction=0.02, pad=0.01, aspect=9)
            bar.ax.tick_params(labelsize=6)
    figure_files.save(figure, path, dpi=110)


def attributions(
    image: np.ndarray, maps: Mapping[str, Any], path: str | Path, *, title: str = ""
) -> None:
    """Draws an input and, beside it, the attribution of a prediction by each method.

    Args:
        image: [H, W, C] in 0..1, or [L, C].
        maps: method -> [H, W, C], [H', W'] (enlarged) or [L, C]: `attribution`, `cam`.
        path: path of the PNG.
        title: title of the input.
    """
    figure = Figure(figsize=(2.6 * (1 + len(maps)), 3.5), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(maps))
    _show(first, np.asarray(image))
    first.set_anchor("S")  # below its title, however long
    first.set_title(texts.wrapped(title, texts.letters(2.5, 9)), fontsize=9)
    for axis, (name, values) in zip(others, maps.items(), strict=True):
        values = np.asarray(values, np.float32)
        if image.ndim == 2:
            axis.axhline(0, color="#999999", linewidth=0.6)
            axis.plot(values.reshape(len(values), -1).sum(-1), color=colours.BLUE)
        else:
            flat = values.sum(-1) if values.ndim == 3 else values
            limit = max(float(np.abs(flat).max()), 1e-12)
            drawn = axis.imshow(flat, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set_axis_off()
            bar = figure.colorbar(drawn, ax=axis, orientation="horizontal", fraction=0.05, pad=0.02)
            bar.set_ticks([-limit, 0, limit])
            bar.ax.xaxis.set_major_formatter(lambda value, _: f"{value:.1g}")
            bar.ax.tick_params(labelsize=7)
        axis.set_title(in_figure(name), fontsize=9)
    figure_files.save(figure, path, dpi=110)


def _show(axis, image: np.ndarray) -> None:
    if image.ndim == 2:
        axis.plot(image)
        return
    axis.imshow(np.clip(image[..., :3] if image.shape[-1] >= 3 else image[..., 0], 0, 1), "gray")
    axis.set_axis_off()
