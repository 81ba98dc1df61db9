"""`experiments.evaluate --run` measures what result.json says, to the last bit, for every task."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax import run
from cnn_jax.run import measuring, result
from tests.experiments.golden_runs.make import BACKBONE

GOLDEN = Path(__file__).parents[1] / "experiments/golden_runs"
COMMON = {
    "batch_size": 8, "steps": 12, "warmup_epochs": 0.0, "figures": False, "devices": 1,
    "evaluate_every_epochs": 0.0, "checkpoint_every_epochs": 0.0, "cpu_convolutions": False,
    "augment": "", "compilation_cache": "",
}  # fmt: skip


def assert_recorded(recipe, where):
    """Trains, and measures the checkpoint that result.json is of as the command does."""
    run.train(recipe, workdir=where, program=run.Program(quiet=True))
    step, figures = result.recorded(str(where))
    found = measuring.measure(run.open(where, checkpoint=step), recorded=figures).figures
    assert len(figures) >= 2
    assert {name: found.get(name) for name in figures} == figures


def test_one_label_and_several(tmp_path):
    rng = np.random.default_rng(0)
    several = {f"{split}_images": rng.integers(0, 256, (30, 8, 8)).astype(np.uint8)
               for split in ("train", "val", "test")}  # fmt: skip
    one = dict(several)
    for split in ("train", "val", "test"):
        several[f"{split}_labels"] = rng.integers(0, 2, (30, 3))
        one[f"{split}_labels"] = np.arange(30) % 3
    np.savez(tmp_path / "several.npz", **several)
    np.savez(tmp_path / "one.npz", **one)
    for kind, name in ((run.MultilabelRecipe, "several"), (run.Recipe, "one")):
        recipe = kind(dataset=f"npz:{tmp_path / name}.npz", model="mlp_300", **COMMON)
        assert_recorded(recipe, tmp_path / name)


@pytest.mark.slow
def test_pixels_and_boxes(tmp_path):
    pixels = run.SegmentationRecipe(
        dataset=f"masks:{GOLDEN / 'masks'}", model="unet_small", model_options="width=4,depth=1",
        **COMMON,
    )  # fmt: skip
    assert_recorded(pixels, tmp_path / "pixels")
    boxes = run.DetectionRecipe(
        dataset=f"coco:{GOLDEN / 'coco'}", image_size="32", model="detector_small",
        model_options=BACKBONE, **COMMON,
    )  # fmt: skip
    assert_recorded(boxes, tmp_path / "boxes")
