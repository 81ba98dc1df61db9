"""Makes a small run on images of 12 bits in 16, and what it said of them.

    python tests/experiments/golden_runs/make_deep.py DIRECTORY

by the packages and the code that are installed. DIRECTORY is made; it gets `data`, a folder of two
classes, `run`, and `expected.json`: the figures of the run, its probabilities for two test images,
and the versions. `deep` beside this file was made so by commit b96c256, which took the high byte of
16 bits (its host's name taken out).
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_jax import run

LOOKED_AT = ("data/test/dark/0.png", "data/test/light/1.png")


def make_set(root: Path) -> None:
    """16 and 6 images of 12x12 pixels, whose values stay below 4,096."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for level, name in ((500, "dark"), (3500, "light")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(level, 500, (12, 12)), 0, 4095).astype(np.uint16)
                pixels[0, 0] = 4095
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


def recipe() -> run.Recipe:
    """The run's, in the current directory."""
    return run.Recipe(
        dataset="folder:data", model="mlp", model_options="hidden=()", image_size=12, channels=1,
        crop="whole", augment="", steps=300, batch_size=8, warmup_epochs=0.0,
        learning_rate=0.02, optimizer="adamw", figures=False, devices=1, keep=1, seed=1,
        compilation_cache="", evaluate_every_epochs=0.0, checkpoint_every_epochs=0.0,
        cpu_convolutions=False,
    )  # fmt: skip


def main(root: Path) -> None:
    make_set(root / "data")
    os.chdir(root)
    result = run.train(recipe(), workdir="run", program=run.Program(quiet=True))
    predictor = run.open("run", checkpoint="last")
    expected = {
        "figures": result.metrics,
        "probabilities": {
            name: predictor.predict(name).probabilities.tolist() for name in LOOKED_AT
        },
        **{key: result.json[key] for key in ("versions", "hardware")},
    }
    Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    for name in ("lock", "attempts.json", "result.json"):
        Path("run", name).unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
