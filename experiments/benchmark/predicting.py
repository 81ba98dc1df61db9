"""Images per second of `experiments.predict` and `experiments.evaluate`, for the same photographs.

    python -m experiments.benchmark.predicting --workdir=/tmp/predicting [--quick]

A MobileNetV3-Small of one training step sees photographs of 1600x1200 (parts of the two that come
with scikit-learn, enlarged; nothing is downloaded) at 224 pixels. The commands take turns, as a
user starts them: Python's start, compilation and the files that they write are part of the time.
The accuracy of what `predict` writes must be that of `evaluate`.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags
from PIL import Image
from sklearn.datasets import load_sample_images

from cnn_jax import run
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for result.json.")
QUICK = flags.DEFINE_bool("quick", False, "Run a short check: one turn with 8 photographs.")
IMAGES = flags.DEFINE_integer("images", 1000, "Number of photographs.", lower_bound=2)
TURNS = flags.DEFINE_integer("turns", 3, "Timed turns of each command.", lower_bound=1)

SIZE = (1600, 1200)  # pixels
WIDTH, HEIGHT = 400, 300  # of the part of a photograph that is enlarged, in its pixels


def write_photographs(folder: pathlib.Path, count: int) -> None:
    """Writes folder/{train,test}/{china,flower}/NUMBER.jpg, `count` of them for the test."""
    rng = np.random.default_rng(0)
    photographs = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for split, number in (("train", 8), ("test", count)):
        for i in range(number):
            name = ("china", "flower")[i % 2]
            whole = Image.fromarray(photographs[name])
            left = int(rng.integers(whole.width - WIDTH + 1))
            top = int(rng.integers(whole.height - HEIGHT + 1))
            path = folder / split / name / f"{i:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            box = (left, top, left + WIDTH, top + HEIGHT)
            whole.resize(SIZE, box=box).save(path, quality=90)


def seconds(*arguments: str, cwd: pathlib.Path) -> float:
    """Seconds of a command; what it prints is shown if it fails."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - begun


def predicted_accuracy(path: pathlib.Path) -> float:
    """Share of the photographs whose first class in the CSV file is their folder."""
    with path.open(newline="") as file:
        first = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    return float(np.mean([pathlib.Path(row["image"]).parent.name == row["class"] for row in first]))


def main(_) -> None:
    count = 8 if QUICK.value else IMAGES.value
    root = pathlib.Path(__file__).parents[2]
    times: dict[str, list[float]] = {"evaluate": [], "predict": []}
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        write_photographs(here, count)
        recipe = run.Recipe(
            dataset=f"folder:{here}", model="mobilenet_v3_small", image_size=224, batch_size=8,
            steps=1, validation_split="", figures=False, augment="",
        )  # fmt: skip
        run.train(recipe, workdir=here / "run", program=run.Program(quiet=True))
        place, table, page = f"--run={here / 'run'}", here / "found.csv", here / "page"
        for _ in range(1 if QUICK.value else TURNS.value):
            times["evaluate"].append(
                seconds(
                    "experiments.evaluate", place, "--batch_size=16", f"--output={page}", cwd=root
                )
            )
            times["predict"].append(
                seconds(
                    "experiments.predict", str(here / "test"), place, f"--csv={table}", "--quiet",
                    cwd=root,
                )
            )  # fmt: skip
        evaluated = json.loads((page / "figures.json").read_text())["figures"]["accuracy"]
        found = predicted_accuracy(table)
    if abs(found - evaluated) > 1e-6:
        raise RuntimeError(
            f"predict is right in {found:.4f} of the cases, evaluate {evaluated:.4f}"
        )
    rates = {name: [count / each for each in values] for name, values in times.items()}
    ratio = float(np.median(rates["predict"]) / np.median(rates["evaluate"]))
    for name, values in rates.items():
        print(f"{name}: {', '.join(f'{each:.1f}' for each in values)} images/s")
    print(f"predict at {ratio:.2f} of the rate of evaluate, by the medians of {count} photographs")
    result = {"images": count, "rates": rates, "ratio": ratio, "machine": timing.machine()}
    timing.write_result(WORKDIR.value, result)


if __name__ == "__main__":
    app.run(main)
