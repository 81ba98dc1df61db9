"""Figures of what a network has learned: feature maps and attributions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import figure_files
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
    figure = Figure(figsize=(1.2 * count, 1.35 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), count, squeeze=False)
    for row, (name, maps) in zip(grid, shown.items(), strict=True):
        strength = np.abs(maps).reshape(-1, maps.shape[-1]).max(0)
        best = strength.argsort()[::-1][:count]
        for axis in row:
            axis.set_axis_off()
        for axis, channel in zip(row, best, strict=False):
            if maps.ndim == 2:  # a sequence
                axis.plot(maps[:, channel], linewidth=1)
            else:
                axis.imshow(maps[..., channel], cmap="gray")
        row[0].set_title(in_figure(name), fontsize=8, loc="left")
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
    figure = Figure(figsize=(2.6 * (1 + len(maps)), 2.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(maps))
    _show(first, np.asarray(image))
    first.set_title(in_figure(title), fontsize=9)
    for axis, (name, values) in zip(others, maps.items(), strict=True):
        values = np.asarray(values, np.float32)
        if image.ndim == 2:
            axis.plot(values.reshape(len(values), -1).sum(-1))
        else:
            flat = values.sum(-1) if values.ndim == 3 else values
            limit = max(float(np.abs(flat).max()), 1e-12)
            axis.imshow(flat, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axis.set_axis_off()
        axis.set_title(in_figure(name), fontsize=9)
    figure_files.save(figure, path, dpi=110)


def _show(axis, image: np.ndarray) -> None:
    if image.ndim == 2:
        axis.plot(image)
        return
    axis.imshow(np.clip(image[..., :3] if image.shape[-1] >= 3 else image[..., 0], 0, 1), "gray")
    axis.set_axis_off()
