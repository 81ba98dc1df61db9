"""A run trained longer, and a run begun with the weights of another."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from cnn_jax import models, run
from cnn_jax.run.network import pretrained_for
from experiments import recipe as recipes

QUIET = run.Program(quiet=True)
QUICK = {
    "model": "mlp",
    "batch_size": 64,
    "augment": "crop:1",
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "learning_rate": 0.05,
    "ema_decay": 0.9,
    "log_every": 5,
    "evaluate_every_steps": 10,
    "figures": False,
    "devices": 1,
    "cpu_convolutions": False,
    "compilation_cache": "",
    "test_split": "test[:100]",
}


def recipe(**changes):
    return run.Recipe(**{**QUICK, **changes})


def rows(where):
    """The rows of metrics.jsonl, without what the clock says."""
    lines = map(json.loads, (where / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if not k.startswith("wall_")} for row in lines]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return run.train(
        recipe(steps=10), workdir=tmp_path_factory.mktemp("run") / "short", program=QUIET
    )


def test_a_run_trained_longer_is_a_longer_run_bit_for_bit(short, tmp_path, capsys):
    before = sorted((p, p.stat().st_mtime_ns) for p in short.directory.rglob("*"))
    longer = run.continued(short.place, steps=10, devices=1)
    result = run.train(longer, workdir=tmp_path / "longer", program=run.Program())
    said = " ".join(capsys.readouterr().out.split())
    assert f"Continuing {short.place} from step 10 to step 20" in said
    assert "begins its schedule again there, constant: from 0.05 to 0.05" in said
    whole = run.train(recipe(steps=20), workdir=tmp_path / "whole", program=QUIET)
    assert result.step == 20
    assert [r for r in rows(whole.directory) if r["step"] > 10] == [
        r for r in rows(result.directory) if r["step"] > 10
    ]
    assert result.metrics == whole.metrics
    again = run.train(longer, workdir=tmp_path / "longer", program=QUIET)  # finished already
    assert again.metrics == result.metrics
    assert before == sorted((p, p.stat().st_mtime_ns) for p in short.directory.rglob("*"))


def test_a_command_takes_what_is_not_given_from_the_run(short):
    values = flags.FlagValues()
    recipes.define_flags(run.Recipe, values)
    values(["", f"--continue_run={short.place}", "--epochs=2", "--learning_rate=0.01"])
    chosen = recipes.from_flags(run.Recipe, values)
    assert chosen == recipe(
        continue_run=short.place, epochs=2.0, learning_rate=0.01, devices=0, workdir=""
    )
    values(["", f"--continue_run={short.place}"])
    values["epochs"].present = 0
    with pytest.raises(ValueError, match="give `epochs` or `steps`, how much longer"):
        recipes.from_flags(run.Recipe, values)
    values = flags.FlagValues()
    recipes.define_flags(run.SegmentationRecipe, values)
    values(["", f"--continue_run={short.place}", "--epochs=2"])
    with pytest.raises(ValueError, match="is a run of classification, and this one is of segm"):
        recipes.from_flags(run.SegmentationRecipe, values)


def test_what_cannot_be_continued_is_said(short, tmp_path):
    def refused(match, where=tmp_path / "x", **changes):
        with pytest.raises(ValueError, match=match):
            run.train(
                dataclasses.replace(run.continued(short.place, steps=5), **changes),
                workdir=where,
                program=QUIET,
            )

    refused("stays as it is: choose another directory", where=short.directory)
    refused("with these settings: .* Keep its network, its optimiser", optimizer="adamw")
    refused("`seeds` is for runs that begin anew", seeds=2)
    refused("no checkpoint|has checkpoints of the steps 10", continue_step=7)
    refused("is no run directory", continue_run=str(tmp_path))
    refused("give `continue_run` too", continue_run="", continue_step=3)


def test_a_run_begins_with_the_averaged_weights_of_another(short, tmp_path, capsys):
    begun = run.train(
        recipe(steps=1, learning_rate=1e-9, ema_decay=0.0, pretrained=short.place),
        workdir=tmp_path / "begun",
        program=run.Program(),
    )
    assert (
        f"Beginning with the weights of {short.place}, the average of the parameters in the best "
        "checkpoint, of step 10." in " ".join(capsys.readouterr().out.split())
    )
    assert begun.metrics["loss"] == pytest.approx(short.metrics["loss"], rel=1e-5)


def small_set(where, classes=3):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (30, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(30) % classes
    np.savez(where, **arrays)
    return f"npz:{where}"


def test_a_backbone_leaves_the_last_layer_of_a_run_out(short):
    trunk = models.create("mlp", num_classes=None)
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    template = jax.eval_shape(lambda x: trunk.init(jax.random.key(0), x, train=False), image)
    found = pretrained_for(short.place, "mlp", trunk, template=template).variables["params"]
    trained = run.open(short.place).variables["params"]
    assert set(trained) - set(found) == {"head"}
    assert (found["fc2"]["kernel"] == trained["fc2"]["kernel"]).all()


def test_other_classes_need_a_new_head(short, tmp_path):
    few = small_set(tmp_path / "few.npz")

    def begin(**changes):
        chosen = recipe(dataset=few, steps=1, test_split="test", pretrained=short.place, **changes)
        return run.TASKS["classification"].make_experiment(chosen)

    with pytest.raises(
        ValueError, match=r"has 10 classes, 0, 1, 2, 3, \.\.\., and the data have 3"
    ):
        begin()
    variables = begin(init_head=True).variables
    trained = run.open(short.place).variables
    assert (variables["params"]["fc1"]["kernel"] == trained["params"]["fc1"]["kernel"]).all()
    with pytest.raises(ValueError, match=r"do not fit mlp as it is here: .*; the run has model_op"):
        begin(init_head=True, model_options="hidden=(32,)")
    with pytest.raises(ValueError, match="is a run of the network mlp, and its weights are wanted"):
        begin(init_head=True, model="mlp_300")
