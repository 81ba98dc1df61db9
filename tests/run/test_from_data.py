"""What a network learns from data before it is trained: in fresh, resumed and predicting runs."""

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax import run as run_library
from cnn_jax.models.airbench import whitening
from cnn_jax.run import classification, initial_variables
from cnn_jax.train import checkpoint, log, loop
from tests.run import as_command

SETTINGS = {
    "model": "airbench",
    "model_options": "widths=(4,4,4)",
    "steps": 4,
    "batch_size": 64,
    "image_size": 16,
    "crop": "whole",
    "augment": "",
    "bias_factor": 64.0,
    "learning_rate": 0.05,
    "warmup_epochs": 0.0,
    "ema_decay": 0.9,
    "log_every": 2,
    "evaluate_every_steps": 2,
    "checkpoint_every_steps": 2,
    "figures": False,
    "compilation_cache": "",
}


def recipe(where, **changes):
    return classification.ClassificationRecipe(**{**SETTINGS, "workdir": str(where), **changes})


def run(where, **changes):
    chosen = recipe(where, **changes)
    return as_command.run(chosen, classification.make_experiment(chosen))


@pytest.fixture(scope="module")
def expected():
    """By numpy, from the digits of the training split."""
    source = data.load_source("digits", "train")
    batch = data.eval_batches(source, data.image_loader(source, 16), batch_size=len(source))[0]
    mean, std = data.statistics("digits", 1)
    return whitening((batch["image"] / np.float32(255) - np.float32(mean)) / np.float32(std))


def saved_kernel(where, step):
    manager = checkpoint.Checkpoints(where / "checkpoints")
    tree, _ = manager.restore_as_saved(step)
    manager.close()
    return tree["model_state"]["whitening"]["layer0"]["kernel"]


def rows(where):
    return [
        {name: value for name, value in row.items() if not name.startswith("wall_")}
        for row in log.read_rows(where / "metrics.jsonl")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["jit", "pmap"])
def test_the_kernel_is_in_the_run_and_stays(expected, tmp_path, layout, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shared = {"layout": layout, "devices": 2}
    assert run(whole, **shared) == 0
    np.testing.assert_allclose(saved_kernel(whole, 4), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(saved_kernel(whole, 2), saved_kernel(whole, 4))

    # the same from a checkpoint, whatever the data would say now
    stopped = loop.fit

    def half(state, *, steps, **arguments):
        return stopped(state, steps=2, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "fit", half)
        run(parts, **shared)
    (parts / "result.json").unlink()
    chosen = recipe(parts, **shared)
    experiment = classification.make_experiment(chosen)
    other = {"whitening": {"layer0": {"kernel": np.zeros_like(expected)}}}
    assert as_command.run(chosen, experiment._replace(learnt=other)) == 0
    np.testing.assert_array_equal(saved_kernel(parts, 4), saved_kernel(whole, 4))
    assert rows(parts) == rows(whole)

    np.testing.assert_allclose(
        run_library.open(whole).variables["whitening"]["layer0"]["kernel"], expected,
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def test_every_seed_begins_with_it_and_with_its_own_parameters(tmp_path):
    chosen = recipe(tmp_path / "both", seeds=2, ema_decay=0.0, devices=1)
    experiment = classification.make_experiment(chosen)
    assert experiment.variables is None
    first, second = (initial_variables(experiment, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(
        first["whitening"]["layer0"]["kernel"], second["whitening"]["layer0"]["kernel"]
    )
    assert not np.array_equal(
        first["params"]["linear"]["kernel"], second["params"]["linear"]["kernel"]
    )
    assert as_command.run(chosen, experiment) == 0


def test_networks_without_such_a_layer_learn_nothing():
    chosen = classification.ClassificationRecipe(model="mlp")
    assert not classification.make_experiment(chosen).learnt
