"""Makes small runs of every task, stopped half-way, and what becomes of them.

    python tests/experiments/golden_runs/make.py DIRECTORY [NAME ...]

from the root of the repository, by the packages and the code that are installed. DIRECTORY is made;
it gets three small data sets, `runs/NAME`, each stopped at step 25 of 40, and `expected.json`: the
figures of the runs that went on to the end, what `experiments.predict` said of an image before and
after, and the versions. The files beside this one were made so by commit 305412c (their host's name
and event files taken out); `.ci/run` makes others by each stack, for the other stacks to read.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

COMMON = (
    "--steps=40", "--batch_size=16", "--warmup_epochs=0", "--evaluate_every_steps=10",
    "--checkpoint_every_steps=5", "--keep=1", "--log_every=5", "--nofigures", "--devices=1",
)  # fmt: skip
NARROW = ("--model=resnet8", "--model_options=widths=(4,4,8)", "--learning_rate=0.1")
BACKBONE = "backbone=resnet8,stages=('layer2','layer3'),features=8,depth=1"
# name: experiment, its settings, an image to look at, settings of `experiments.predict`
RUNS = {
    "digits": ("classification", ("--mixup=0.2", "--ema_decay=0.9", *NARROW), "digit.png", ()),
    "folder": (
        "classification",
        ("--dataset=folder:folder", "--image_size=24", "--augment=flip,crop:2", *NARROW),
        "folder/test/square/0.png",
        (),
    ),
    "masks": (
        "segmentation",
        ("--dataset=masks:masks", "--classes=ground,square,stripe", "--model=unet_small",
         "--model_options=width=4,depth=1"),
        "masks/test/00.png",
        (),
    ),
    "coco": (
        "detection",
        ("--dataset=coco:coco", "--model=detector_small", f"--model_options={BACKBONE}",
         "--augment=flip", "--image_size=32"),
        "coco/test/00.png",
        ("--threshold=0.1",),
    ),
}  # fmt: skip
# The experiment, to which SIGTERM comes while batch 25 is made, unless GO is set
STOPPED = """
import os, runpy, signal, sys
from cnn_jax.data import pipeline
make = pipeline.TrainBatches._make
def making(self, at):
    if at == 25 and not os.environ.get("GO"):
        os.kill(os.getpid(), signal.SIGTERM)
    return make(self, at)
pipeline.TrainBatches._make = making
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
"""


def scene(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image of 32x32 pixels with a bright square (0) or a dark stripe (1), and its box."""
    image = rng.integers(90, 130, (32, 32, 3))
    x, y = (int(n) for n in rng.integers(2, 16, 2))
    height, width = (10, 10) if kind == 0 else (4, 14)
    colour = rng.integers(200, 250, 3) if kind == 0 else rng.integers(0, 40, 3)
    image[y : y + height, x : x + width] = colour
    return image.astype(np.uint8), (x, y, width, height)


def make_sets(root: Path) -> None:
    """A folder of two classes, images with masks, and images with boxes."""
    rng = np.random.default_rng(0)
    (root / "coco" / "annotations").mkdir(parents=True)
    for split, count in (("train", 16), ("test", 6)):
        for kind, name in enumerate(("square", "stripe")):
            (root / "folder" / split / name).mkdir(parents=True)
            for i in range(count // 2):
                image, _ = scene(rng, kind)
                Image.fromarray(image).save(root / "folder" / split / name / f"{i}.png")
        for folder in (f"masks/{split}", f"masks/{split}annot", f"coco/{split}"):
            (root / folder).mkdir(parents=True)
        images, annotations = [], []
        for i in range(count):
            image, (x, y, width, height) = scene(rng, i % 2)
            mask = np.zeros((32, 32), np.uint8)
            mask[y : y + height, x : x + width] = 1 + i % 2
            Image.fromarray(image).save(root / "masks" / split / f"{i:02}.png")
            Image.fromarray(mask).save(root / "masks" / f"{split}annot" / f"{i:02}.png")
            image, box = scene(rng, i % 2)
            Image.fromarray(image).save(root / "coco" / split / f"{i:02}.png")
            images.append({"id": i, "file_name": f"{i:02}.png", "width": 32, "height": 32})
            annotations.append({"image_id": i, "category_id": 1 + i % 2, "bbox": box, "id": i})
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "stripe"}],
        }
        (root / "coco" / "annotations" / f"{split}.json").write_text(json.dumps(content))
    Image.fromarray((load_digits().images[3] * 15.9).astype(np.uint8)).save(root / "digit.png")


def call(root: Path, *arguments: str, **environ: str) -> str:
    """Runs Python in `root`, and returns what it printed.

    Raises:
        RuntimeError: it ended with another status than 0.
    """
    repository = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": repository, **environ},
    )
    if done.returncode:
        raise RuntimeError(f"{arguments[-3:]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


# On the test split, whose six images say more than a held-out pair; the runs that are kept here
# are of versions that knew nothing else.
CHOSEN = ("--validation_split=",)


def settings_of(name: str) -> list[str]:
    """The experiment's module and all its settings but the run directory."""
    experiment, more, *_ = RUNS[name]
    return [f"experiments.{experiment}", *COMMON, *more]


def predict(root: Path, name: str, run: str, **environ: str) -> list[str]:
    """What `experiments.predict` prints about the image of `name`, by line."""
    _, _, image, more = RUNS[name]
    command = ("-m", "experiments.predict", image, f"--run={run}", *more)
    return call(root, *command, **environ).splitlines()


def rows_of(run: Path) -> list[dict]:
    """The rows of metrics.jsonl without what depends on the clock."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("wall_")} for row in rows]


def make(root: Path, name: str) -> dict:
    """One stopped run, and what is to be expected of it."""
    run, whole = f"runs/{name}", f"whole/{name}"
    kept = f"--compilation_cache=cache/{name}"
    command = ("-c", STOPPED, *settings_of(name), *CHOSEN, kept)
    call(root, *command, f"--workdir={run}")
    shutil.copytree(root / run, root / whole)
    call(root, *command, f"--workdir={whole}", GO="1")
    result = json.loads((root / whole / "result.json").read_text())
    return {
        "rows": rows_of(root / whole),
        "stopped": predict(root, name, run),
        "finished": predict(root, name, whole),
        **{key: result[key] for key in ("versions", "hardware")},
    }


def main(root: Path, names: Sequence[str]) -> None:
    root.mkdir(parents=True)
    make_sets(root)
    with ThreadPoolExecutor(2) as pool:  # most of the time of each process is one thread's
        expected = dict(zip(names, pool.map(partial(make, root), names), strict=True))
    for made in ("whole", "cache"):
        shutil.rmtree(root / made)
    (root / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(RUNS))
