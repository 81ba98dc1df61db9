"""Figures of segmentations: PNG files, and images overlaid with the colours of the classes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from cnn_jax import shapes
from cnn_jax.analysis import colours, figure_files, texts
from cnn_jax.printable import in_figure

IGNORE = 255
RIGHT, WRONG, NOT_COUNTED = "#dcdcdc", colours.WRONG, "#808080"
FONT = 8  # points of a legend
NAMED = 40  # classes with a legend


def palette(count: int) -> np.ndarray:
    """uint8 [K, 3]: black for class 0, and distinguishable colours for the others."""
    return colours.classes(count)


def coloured(label: np.ndarray, classes: int) -> np.ndarray:
    """The colour image, uint8 [H, W, 3], of a mask uint8 [H, W]; ignored pixels are white."""
    table = np.full((256, 3), 255, np.uint8)
    table[:classes] = palette(classes)[:256]
    return table[label]


def overlay(image: np.ndarray, label: np.ndarray, classes: int, *, opacity: float = 0.5):
    """The image under the colours of its classes; class 0 and ignored pixels stay unchanged.

    Args:
        image: uint8 [H, W, C], with C = 1 or C >= 3.
        label: uint8 [H, W].
        classes: number of classes K.
        opacity: opacity of the colours, 0..1.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: if a shape or type is not that above.
    """
    what = "overlay takes an image [H, W, C] and a label [H, W] (int)"
    with shapes.wanted(what, image=image, label=label) as chex:
        chex.assert_rank(image, 3)
        chex.assert_shape(label, image.shape[:2])
        chex.assert_type(label, int)
    image = np.broadcast_to(image[..., :1] if image.shape[-1] < 3 else image[..., :3],
                            (*image.shape[:2], 3))  # fmt: skip
    shown = ((label > 0) & (label < classes))[..., None]
    mixed = (1 - opacity) * image + opacity * coloured(label, classes)
    return np.where(shown, mixed, image).round().astype(np.uint8)


def predictions(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
    path: str | Path,
) -> None:
    """Draws a row per image: the image, the truth, the prediction and its errors.

    Args:
        images: uint8 [B, H, W, C].
        labels: uint8 [B, H, W], including ignored pixels.
        predicted: int [B, H, W], or smaller if the network predicts the middle of the image.
        class_names: K names.
        path: path of the PNG.

    Raises:
        ValueError: if a shape is not that above.
    """
    what = "predictions takes images [B, H, W, C] and, each [B, H, W], labels and predicted"
    with shapes.wanted(what, images=images, labels=labels, predicted=predicted) as chex:
        chex.assert_rank(images, 4)
        chex.assert_shape(labels, images.shape[:3])
        chex.assert_rank(predicted, 3)
        chex.assert_equal_shape_prefix([labels, predicted], 1)
    classes = len(class_names)
    names = [texts.cut(name, texts.letters(8, FONT) - 8) for name in class_names]
    columns = texts.legend_columns(names, 8.3, FONT)
    lines = 1 + (-(-classes // columns) if classes <= NAMED else 0)
    figure = Figure(figsize=(8.5, 2 * len(images) + 0.45 + 0.18 * lines), layout="constrained")
    grid = figure.subplots(len(images), 4, squeeze=False)
    for axis, title in zip(grid[0], ("image", "truth", "prediction", "errors"), strict=True):
        axis.set_title(title)
    for row, image, label, guess in zip(grid, images, labels, predicted, strict=True):
        label = _middle(label, guess.shape)
        wrong = np.where(label == IGNORE, 2, label != guess)
        kinds = matplotlib.colors.ListedColormap([RIGHT, WRONG, NOT_COUNTED])
        grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.shape[-1] == 1 else {}
        row[0].imshow(image[..., 0] if grey else image[..., :3], **grey)
        row[1].imshow(coloured(label, classes))
        row[2].imshow(coloured(guess.astype(np.uint8), classes))
        row[3].imshow(wrong, cmap=kinds, vmin=0, vmax=2)
        share = (wrong == 1).sum() / max((wrong < 2).sum(), 1)
        row[3].set_xlabel(f"{share:.1%} wrong", fontsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    handles = [
        Patch(facecolor=colour, edgecolor="black", linewidth=0.4, label=label)
        for colour, label in ((RIGHT, "right"), (WRONG, "wrong"), (NOT_COUNTED, "not counted"))
    ]
    figure.legend(
        handles=handles, loc="outside upper right", ncols=3, fontsize=FONT, title="errors",
        title_fontsize=FONT,
    )  # fmt: skip
    if classes <= NAMED:
        handles = _patches(palette(classes), names)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=FONT)
    figure_files.save(figure, path)


def _patches(table: np.ndarray, names: Sequence[str]) -> list[Patch]:
    """The entries of a legend; white and light ones have an edge too."""
    return [
        Patch(facecolor=colour / 255, edgecolor="black", linewidth=0.4, label=in_figure(name))
        for colour, name in zip(table, names, strict=True)
    ]


def _middle(label: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    top, left = [(have - want) // 2 for have, want in zip(label.shape, shape, strict=True)]
    return label[top : top + shape[0], left : left + shape[1]]


def draw(
    image: Image.Image, label: np.ndarray, class_names: Sequence[str], directory: Path, path: str
) -> tuple[Path, Path]:
    """Writes the classes as a palette PNG, and the image overlaid with their colours.

    Args:
        image: the image as it was opened.
        label: uint8 [H, W], as large as the image.
        class_names: K names.
        directory: the directory to write to, created if missing.
        path: path of the image, for the names of the files.

    Returns:
        The two files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    classes = len(class_names)
    mask = Image.fromarray(label).convert("P")
    mask.putpalette(palette(classes).ravel().tolist())
    mask.putdata(label.ravel().tolist())
    written = directory / figure_files.named_after(path, "_classes.png")
    mask.save(written)
    height, width = label.shape
    shown = [k for k in np.unique(label) if 0 < k < classes]
    across = max(4.0, width / 100)
    names = [texts.cut(class_names[k], texts.letters(across, FONT) - 8) for k in shown]
    columns = texts.legend_columns(names, across, FONT, most=6)
    below = 0.4 + 0.18 * -(-len(shown) // columns)
    figure = Figure(figsize=(across, max(2.2, height / 100) + below), dpi=100,
                    layout="constrained")  # fmt: skip
    axis = figure.subplots()
    axis.imshow(overlay(np.asarray(image), label, classes))
    axis.set_axis_off()
    if shown:
        handles = _patches(palette(classes)[shown], names)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=FONT)
    overlaid = directory / figure_files.named_after(path, "_overlay.png")
    figure_files.save(figure, overlaid)
    return written, overlaid
