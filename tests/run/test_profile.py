"""--profile writes what TensorBoard's profile plug-in reads, of the steps asked for alone."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from cnn_jax import models
from cnn_jax.run import classification
from tests.run import as_command


@pytest.fixture
def profiled(tmp_path):
    chosen = classification.ClassificationRecipe(
        model="mlp", steps=8, batch_size=32, figures=False, compilation_cache="", devices=1,
        log_every=4, profile="3:6", workdir=str(tmp_path),
    )  # fmt: skip
    assert as_command.run(chosen, classification.make_experiment(chosen)) == 0
    return tmp_path


def test_the_steps_asked_for(profiled):
    """Read from the trace: `jax.profiler.ProfileData` ends the process in jaxlib 0.12."""
    (plane,) = profiled.glob("profile/plugins/profile/*/*.xplane.pb")
    assert b"step_num" in plane.read_bytes()

    (trace,) = profiled.glob("profile/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    marked = {int(e["args"]["step_num"]) for e in events if e.get("name") == "train"}
    assert marked == {3, 4, 5}
    assert any("dot" in event.get("name", "") for event in events), "the work on the device"


def test_the_speed_is_in_the_log(profiled):
    rows = [json.loads(line) for line in (profiled / "metrics.jsonl").read_text().splitlines()]
    row = next(row for row in rows if row["split"] == "train")
    model = models.create("mlp", num_classes=10)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)), train=False)
    )
    kernels = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim == 2)
    # each weight of a dense layer: three multiply-adds for each example
    expected = 6e-9 * kernels * row["wall_images_per_second"]
    assert row["wall_gflops_per_second"] == pytest.approx(expected, rel=0.01)
    assert "wall_mfu" not in row, "a CPU has no peak in the table"
