"""A prediction beside its image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax.analysis import figure_files
from cnn_jax.printable import in_figure


def annotated(
    image: Image.Image,
    best: Sequence[tuple[str, float]],
    heat: tuple[Image.Image, np.ndarray] | None,
    directory: Path,
    path: str,
) -> Path:
    """Writes the image with bars for the best classes, '<name>_predicted.png'.

    Args:
        image: the image as it was opened.
        best: names of classes with their probabilities, the best first.
        heat: the image as the network sees it, and the Grad-CAM of the first class, [h, w], which
            is drawn between them; None for none.
        directory: the directory to write to, created if missing.
        path: path of the image, for the name of the file.
    """
    names, shares = zip(*best, strict=True)
    columns: list[Any] = ["image", *(["heat"] if heat is not None else []), "bars"]
    figure = Figure(figsize=(4.2 * len(columns), 4), layout="constrained")
    axes = dict(zip(columns, figure.subplots(1, len(columns)), strict=True))
    axes["image"].imshow(image)
    axes["image"].set_title(in_figure(Path(path).name))
    if heat is not None:
        seen, values = heat
        scaled = values / max(values.max(), 1e-12)
        colours = matplotlib.colormaps["inferno"](scaled)[..., :3]
        overlay = Image.fromarray((colours * 255).astype(np.uint8)).resize(
            seen.size, Image.Resampling.BICUBIC
        )
        axes["heat"].imshow(Image.blend(seen, overlay, 0.5))
        axes["heat"].set_title(in_figure(f"Grad-CAM: {names[0]}"))
    for name in columns[:-1]:
        axes[name].set_axis_off()
    axes["bars"].barh(range(len(names)), shares[::-1])
    axes["bars"].set_yticks(range(len(names)), [in_figure(name) for name in names[::-1]])
    axes["bars"].set(xlim=(0, 1), xlabel="probability")
    directory.mkdir(parents=True, exist_ok=True)
    written = directory / figure_files.named_after(path, "_predicted.png")
    figure_files.save(figure, written)
    return written
