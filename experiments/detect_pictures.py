"""The boxes in pictures of any size: the part of `experiments.predict` for runs of
`experiments.detection`."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax import boxes as box_ops
from cnn_jax.analysis import detection_figures, figure_files
from cnn_jax.data.boxes import LoadBoxes
from cnn_jax.typing import Detections

Detect = Callable[[np.ndarray], Detections]  # pictures uint8 [1, *frame, C] -> [1, M] detections


class Found(NamedTuple):
    """What is in a picture, best first.

    Attributes:
        boxes: float32 [n, 4], (left, top, right, bottom) in pixels of the picture.
        scores: float32 [n].
        labels: int32 [n].
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def make_detect(model: Any, variables: Any, facts: dict[str, Any]) -> Detect:
    """The compiled network of a run, with its normalisation before and its suppression behind."""
    mean, std = (np.asarray(facts[name], np.float32) for name in ("mean", "std"))
    height, width, _ = facts["image_shape"]

    @jax.jit
    def detect(image):
        x = (jnp.asarray(image, jnp.float32) / 255 - mean) / std
        return model.detect(model.apply(variables, x, train=False), (height, width))

    return detect


def find(detect: Detect, picture: Image.Image, facts: dict[str, Any], *, threshold: float) -> Found:
    """What a run's network finds in a picture, which is brought into the frame as in training.

    Args:
        detect: see `make_detect`.
        picture: of any size.
        facts: of the run: 'image_shape', 'num_classes', 'mean', 'fit'.
        threshold: the least score.
    """
    *frame, channels = facts["image_shape"]
    encoded = io.BytesIO()
    picture.convert("L" if channels == 1 else "RGB").save(encoded, "BMP")
    load = LoadBoxes(
        channels=channels,
        num_classes=facts["num_classes"],
        size=(frame[0], frame[1]),
        capacity=1,
        fit=facts["fit"],
        fill=tuple(round(255 * m) for m in facts["mean"]),
    )
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "crowd": np.zeros(0, bool)}
    loaded = load({"image": encoded.getvalue(), **nothing}, None)
    found = jax.device_get(detect(loaded["image"][None]))
    good = (found.labels[0] >= 0) & (found.scores[0] >= threshold)
    height, width = loaded["extent"]
    boxes = np.clip(found.boxes[0][good], 0, [width, height, width, height])
    boxes = boxes / np.tile(loaded["factor"], 2)
    whole = np.asarray(box_ops.is_proper(boxes))  # a box may lie in the filling altogether
    return Found(boxes[whole], found.scores[0][good][whole], found.labels[0][good][whole])


def draw(
    picture: Image.Image, found: Found, class_names: Sequence[str], directory: Path, path: str
) -> Path:
    """Writes the picture with its boxes, '<name>_boxes.png', at its own size or nearly so.

    Args:
        picture: as it was opened.
        found: see `find`.
        class_names: K names.
        directory: where to; made if it is new.
        path: of the picture, for the name of the file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    longest = max(picture.size)
    inches = np.array(picture.size) * np.clip(longest, 500, 2000) / longest / 100
    figure = Figure(figsize=tuple(inches), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    texts = [f"{class_names[k]} {s:.2f}" for k, s in zip(found.labels, found.scores, strict=True)]
    colours = [f"C{k % 10}" for k in found.labels]
    detection_figures.draw_boxes(axis, np.asarray(picture), found.boxes, texts, colours)
    axis.set_axis_off()
    written = directory / figure_files.named_after(path, "_boxes.png")
    figure_files.save(figure, written)
    return written
