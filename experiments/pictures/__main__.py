"""Draws the images of the README from runs of ours.

    python -m experiments.pictures
    python -m experiments.pictures --classification=RUN --segmentation=RUN --detection=RUN

Without runs it trains them first, in runs/pictures: minutes, on two cores. The files lie beside
this module: glance.png, success.svg, classify.png, segment.png, detect.png, network_LANGUAGE.png.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from cnn_jax import data, run
from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts.frame.lesson import LANGUAGES
from experiments.pictures import draw, terminal

HERE = Path(__file__).parent
PRINTED = "printed.txt"  # in a run: what its command printed
TASKS = ("classification", "segmentation", "detection")
MOST = 600_000  # bytes, of all images together

RUNS = {
    task: flags.DEFINE_string(task, "", f"Run of experiments.{task}; '' trains one.")
    for task in TASKS
}
OUTPUT = flags.DEFINE_string("output", str(HERE), "Directory for the images.")


def trained(task: str) -> Path:
    """The directory of a run of this task, which holds what the command printed."""
    if given := RUNS[task].value:
        return local_path(given)
    here = Path("runs", "pictures", task)  # the run is below, where a user's would be
    here.mkdir(parents=True, exist_ok=True)
    printed = command(task, here)
    (place,) = here.glob("runs/*")
    (place / PRINTED).write_text(printed, encoding="utf-8")
    return place


def command(task: str, directory: Path) -> str:
    """What a command prints on a terminal, run in a directory. Raises ValueError if it fails."""
    root = str(HERE.parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    terminal_of = {"COLUMNS": str(terminal.COLUMNS), "FORCE_COLOR": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{task}"],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=directory,
        env={**os.environ, **terminal_of},
        check=False,
    )
    if done.returncode:
        raise ValueError(f"experiments.{task} ended with status {done.returncode}.")
    return done.stdout


def chosen(predictor: run.ClassPredictor, source: data.Source) -> tuple[np.ndarray, np.ndarray]:
    """Ten test images and their labels: the first of each class, the last a mistake if there is
    one."""
    (batch,) = data.eval_batches(source, batch_size=len(source))
    images, labels = batch["image"], batch["label"]
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
    answers = predictor.predict(list(images))
    wrong = [i for i, answer in enumerate(answers) if answer.label != labels[i]]
    if wrong:
        first[-1] = wrong[0]
    return images[first], labels[first]


def pixels_of(stored: bytes) -> np.ndarray:
    """The pixels of an image file, [H, W] or [H, W, C]."""
    return np.asarray(Image.open(io.BytesIO(stored)))


def main() -> int:
    entry.set_up_jax(cpu_convolutions=True, compilation_cache="~/.cache/cnn_jax/compiled")
    output = local_path(OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    places = {task: trained(task) for task in TASKS}
    kept = places["classification"] / PRINTED
    if not kept.exists():
        raise ValueError(f"{kept} is missing: train the run with this command, without RUN.")
    printed = kept.read_text(encoding="utf-8")
    shown = terminal.svg("python -m experiments.classification", printed)
    (output / "success.svg").write_text(shown, encoding="utf-8")

    classes = run.open(places["classification"])
    assert isinstance(classes, run.ClassPredictor)
    images, labels = chosen(classes, data.load_source("digits", "test"))
    draw.classified(classes, images, labels, output / "classify.png")
    for language in LANGUAGES:
        draw.explained(classes, images[3], language, output / f"network_{language}.png")

    pixels, boxes = run.open(places["segmentation"]), run.open(places["detection"])
    assert isinstance(pixels, run.PixelPredictor)
    assert isinstance(boxes, run.BoxPredictor)
    scenes = data.open_source("digit_scenes", "test", holds="mask")
    examples = [scenes[i] for i in range(9)]
    images = np.stack([pixels_of(example["image"]) for example in examples])
    masks = np.stack([pixels_of(example["mask"]) for example in examples])
    draw.at_a_glance(pixels, boxes, images[8], output / "glance.png")
    draw.segmented(pixels, images[:2], masks[:2], output / "segment.png")
    draw.detected(boxes, list(images[2:7]), output / "detect.png")

    sizes = {path.name: path.stat().st_size for path in sorted(output.glob("*.[ps][nv]g"))}
    for name, size in sizes.items():
        entry.say(f"{name:<16}{size:>9,} bytes")
    return 0


if __name__ == "__main__":
    entry.launch(main)
