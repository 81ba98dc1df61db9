"""The images of the README, drawn from trained networks.

They have no words, so that one serves both languages, but for the one that explains.
"""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle

from cnn_jax.analysis import attribution, figure_files
from cnn_jax.analysis.colours import RIGHT, WRONG
from cnn_jax.analysis.detection_figures import draw_boxes
from cnn_jax.analysis.segmentation_figures import coloured
from cnn_jax.run import BoxPredictor, ClassPredictor, PixelPredictor
from experiments.concepts.frame.lesson import Text

DPI = 110
GREY = {"cmap": "gray", "vmin": 0, "vmax": 255}

WINDOW = (2, 3)  # row and column of the window in the explaining figure
WORDS = (
    Text("an image is numbers", "图片就是一堆数"),
    Text("a kernel: 3 x 3 weights,\nthe same everywhere", "卷积核：3 x 3 个权重，\n处处相同"),
    Text("maps: what the kernels\nfind, and where", "特征图：卷积核\n在哪里找到了什么"),
    Text("deeper: smaller maps,\na wider view", "更深处：图更小，\n看得更宽"),
    Text("a probability\nfor each class", "每个类别\n一个概率"),
)


def classified(
    predictor: ClassPredictor, images: np.ndarray, labels: np.ndarray, path: Path
) -> None:
    """Draws images [n, H, W, 1] with the class that is predicted and its probability."""
    answers = predictor.predict(list(images))
    figure = Figure(figsize=(7.6, 1.12), layout="constrained")
    for axis, image, label, answer in zip(
        figure.subplots(1, len(images)), images, labels, answers, strict=True
    ):
        right = answer.label == label
        axis.imshow(image[..., 0], **GREY)
        mark = "\N{CHECK MARK}" if right else "\N{BALLOT X}"
        axis.set_title(
            f"{answer.name} {mark}\n{answer.probabilities.max():.0%}",
            color=RIGHT if right else WRONG,
            fontsize=11,
        )
        axis.set(xticks=[], yticks=[])
    figure_files.save(figure, path, dpi=DPI)


def segmented(predictor: PixelPredictor, images: np.ndarray, masks: np.ndarray, path: Path) -> None:
    """Draws images, their true classes and the predicted ones, three to a group."""
    answers = predictor.predict(list(images))
    classes = len(predictor.facts.class_names)
    figure = Figure(figsize=(7.6, 7.6 / 6.5))
    left = 0.0
    for image, mask, answer in zip(images, masks, answers, strict=True):
        for pixels in (image, coloured(mask, classes), coloured(answer.label, classes)):
            _scene(figure, left / 6.5, 1 / 6.5).imshow(pixels)
            left += 1.04
        left += 0.3
    figure_files.save(figure, path, dpi=DPI)


def detected(predictor: BoxPredictor, images: Sequence[np.ndarray], path: Path) -> None:
    """Draws images with the boxes that are found, their class and score."""
    across = len(images) + 0.04 * (len(images) - 1)
    figure = Figure(figsize=(7.6, 7.6 / across))
    for number, image in enumerate(images):
        _boxes(_scene(figure, 1.04 * number / across, 1 / across), predictor, image)
    figure_files.save(figure, path, dpi=DPI)


def at_a_glance(pixels: PixelPredictor, boxes: BoxPredictor, image: np.ndarray, path: Path) -> None:
    """Draws one image as it is, with the class of each pixel, and with the boxes found."""
    figure = Figure(figsize=(7.6, 7.6 / 3.08))
    answer = pixels.predict_one(image)
    views = [_scene(figure, 1.04 * number / 3.08, 1 / 3.08) for number in range(3)]
    views[0].imshow(image)
    views[1].imshow(coloured(answer.label, len(pixels.facts.class_names)))
    _boxes(views[2], boxes, image, fontsize=11)
    figure_files.save(figure, path, dpi=DPI)


def _scene(figure: Figure, left: float, width: float) -> Axes:
    axis = figure.add_axes((left, 0, width, 1))
    axis.axis("off")
    return axis


def _boxes(axis: Axes, predictor: BoxPredictor, image: np.ndarray, fontsize: int = 8) -> None:
    found = predictor.predict_one(image)
    names = predictor.facts.class_names
    texts = [
        f"{names[label]} {score:.0%}"
        for label, score in zip(found.labels, found.scores, strict=True)
    ]
    draw_boxes(axis, image, found.boxes, texts, [("#56b4e9", "-")] * len(texts))
    for text in axis.texts:
        text.set_fontsize(fontsize)


def explained(predictor: ClassPredictor, image: np.ndarray, language: str, path: Path) -> None:
    """Draws the way of an image through the network: window, kernel, maps, scores.

    Args:
        predictor: a residual network of `cnn_jax.models.resnet_cifar`, such as 'resnet8'.
        image: uint8 [8, 8, 1].
        language: of the words, 'en' or 'zh'.
    """
    kernel, first, later = _inside(predictor, predictor.preprocess(image)[None])
    shares = predictor.predict_one(image).probabilities
    figure = Figure(figsize=(9.2, 2.75))
    pixels = _square(figure, 0.012, 0.41, 2.05)
    _numbers(pixels, image[..., 0], 255, "{:.0f}", "gray")
    weights = _square(figure, 0.275, 0.41, 0.85)
    _numbers(weights, kernel, np.abs(kernel).max(), "{:.1f}", "RdBu_r")
    row, column = WINDOW
    pixels.add_patch(_frame(column - 1.5, row - 1.5, 3))
    firsts = [
        _map(figure, 0.415 + 0.105 * (i % 2), 0.6 - 0.37 * (i // 2), 0.9, maps)
        for i, maps in enumerate(first)
    ]
    firsts[0].add_patch(_frame(column - 0.5, row - 0.5, 1))
    for i, maps in enumerate(later):
        _map(figure, 0.668 + 0.057 * (i % 2), 0.515 - 0.2 * (i // 2), 0.48, maps)
    _link(figure, pixels, (column + 1.5, row), weights, (-0.5, 1))
    _link(figure, weights, (2.5, 1), firsts[0], (column - 0.5, row))
    bars = figure.add_axes((0.845, 0.05, 0.145, 0.72))
    best = int(shares.argmax())
    colours = [RIGHT if i == best else "#a0a0a0" for i in range(len(shares))]
    bars.barh(range(len(shares)), shares, color=colours)
    bars.set(yticks=range(len(shares)), xticks=[], xlim=(0, 1.05))
    bars.invert_yaxis()
    bars.tick_params(labelsize=8, length=0)
    for side in ("top", "right", "bottom"):
        bars.spines[side].set_visible(False)
    words = zip((0.122, 0.32, 0.515, 0.723, 0.917), WORDS, strict=True)
    for place, text in words:
        figure.text(place, 0.985, text.in_(language), ha="center", va="top", fontsize=9)
    for place in (0.645, 0.805):
        figure.text(place, 0.41, "\N{RIGHTWARDS ARROW}", ha="center", va="center", fontsize=15)
    figure_files.save(figure, path, dpi=DPI)


def _inside(
    predictor: ClassPredictor, x: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The kernel of the first layer's liveliest channel, and maps [H, W] of two layers."""
    kernels = np.asarray(predictor.variables["params"]["conv1"]["kernel"])  # [3, 3, 1, C]
    layers = ["bn1", "layer2_0"]
    found = attribution.features(
        predictor.model, predictor.variables, jnp.asarray(x), layers=layers
    )
    first, later = (np.maximum(np.asarray(found[name])[0], 0) for name in layers)  # [H, W, C]
    lively = np.argsort(-first.std((0, 1)))[:4]
    deep = np.argsort(-later.std((0, 1)))[:4]
    return (
        kernels[:, :, 0, lively[0]],
        [first[..., i] for i in lively],
        [later[..., i] for i in deep],
    )


def _numbers(axis: Axes, values: np.ndarray, most: float, form: str, colours: str) -> None:
    """An array as squares with their numbers."""
    low = -most if values.min() < 0 else 0
    axis.imshow(values, cmap=colours, vmin=low, vmax=most)
    for (row, column), value in np.ndenumerate(values):
        dark = (value < most / 2) if colours == "gray" else abs(value) > 0.6 * most
        axis.text(
            column, row, form.format(value), ha="center", va="center", fontsize=6.5,
            color="white" if dark else "black",
        )  # fmt: skip
    axis.set(xticks=[], yticks=[])


def _square(figure: Figure, left: float, middle: float, inches: float) -> Axes:
    """A square of so many inches, by its left side and its middle as shares of the figure."""
    width, height = figure.get_size_inches()
    side = inches / height
    return figure.add_axes((left, middle - side / 2, inches / width, side))


def _map(figure: Figure, left: float, middle: float, inches: float, values: np.ndarray) -> Axes:
    axis = _square(figure, left, middle, inches)
    axis.imshow(values, cmap="viridis", vmin=0)
    axis.set(xticks=[], yticks=[])
    return axis


def _frame(left: float, top: float, side: float) -> Rectangle:
    return Rectangle((left, top), side, side, fill=False, edgecolor=WRONG, linewidth=2)


def _link(
    figure: Figure, a: Axes, at: tuple[float, float], b: Axes, to: tuple[float, float]
) -> None:
    """An arrow from a point of one array to a point of another, each as (column, row)."""
    figure.add_artist(
        ConnectionPatch(
            at, to, "data", "data", axesA=a, axesB=b,
            color=WRONG, linewidth=1.2, arrowstyle="->",
        )
    )  # fmt: skip
