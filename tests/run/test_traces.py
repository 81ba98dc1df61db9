"""A whole run traces each of its two steps once: no batch has another shape, no setting retraces.

Tracing again would compile again, which for a large network takes minutes.
"""

import dataclasses

import chex
import pytest

from cnn_jax import run
from cnn_jax.data import pipeline
from cnn_jax.data.readers import digit_scenes
from cnn_jax.train import step

COMMON = {
    "steps": 6,
    "batch_size": 32,
    "eval_batch_size": 48,
    "log_every": 2,
    "evaluate_every_steps": 3,
    "checkpoint_every_steps": 2,
    "figures": False,
    "ema_decay": 0.9,
    "compilation_cache": "",
}
# 100 and 50 examples to evaluate, not multiples of 48: the last batch is padded
DIGITS = run.Recipe(
    dataset="digits", model="mlp", augment="flip,crop:1", mixup=0.2, test_split="test[:100]",
    **COMMON,
)  # fmt: skip
SCENES = run.SegmentationRecipe(
    dataset="digit_scenes", model="pixel_mlp", model_options="hidden=(8,)", augment="flip",
    train_split="train[:64]", test_split="test[:50]", **COMMON,
)  # fmt: skip


@pytest.fixture
def traced_once(monkeypatch):
    """Makes a second trace of a step an error."""
    chex.clear_trace_counter()
    for name in ("make_train_step", "make_eval_step"):
        make = getattr(step, name)
        monkeypatch.setattr(
            step, name, lambda *a, make=make, **k: chex.assert_max_traces(make(*a, **k), n=1)
        )


def train(recipe, workdir, **changes):
    recipe = dataclasses.replace(recipe, **changes)
    result = run.train(recipe, workdir=workdir / "run", program=run.Program(quiet=True))
    assert not result.interrupted


@pytest.mark.parametrize("changes", [{}, {"layout": "pmap"}, {"devices": 1}, {"seeds": 2}], ids=str)
def test_classification(traced_once, tmp_path, changes):
    train(DIGITS, tmp_path, **changes)


def test_segmentation(traced_once, tmp_path, monkeypatch):
    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 64, "test": 50})
    train(SCENES, tmp_path, devices=1, data_dir=str(tmp_path / "sets"))


def test_a_batch_of_another_shape_would_be_noticed(traced_once, monkeypatch, tmp_path):
    make = pipeline.EvalBatches._make

    def ragged(self, step):
        batch, skipped = make(self, step)
        return {name: leaf[batch["mask"] > 0] for name, leaf in batch.items()}, skipped

    monkeypatch.setattr(pipeline.EvalBatches, "_make", ragged)
    with pytest.raises(AssertionError, match="traced > 1 times"):
        train(DIGITS, tmp_path, devices=1)
