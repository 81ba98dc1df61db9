"""A run that was stopped, by whatever means, goes on as if it had not been."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.run import classification, workdir
from cnn_jax.train import checkpoint, log
from tests.run import as_command

# Everything that has a state or draws random numbers is on.
SETTINGS = {
    "model": "mlp",
    "model_options": "",
    "steps": 30,
    "batch_size": 32,
    "learning_rate": 0.05,
    "augment": "crop:1",
    "mixup": 0.2,
    "ema_decay": 0.9,
    "log_every": 4,
    "evaluate_every_steps": 10,
    "checkpoint_every_steps": 3,
    "figures": False,
    "compilation_cache": "",
    "devices": 1,
}


def recipe(where, **changes):
    return classification.ClassificationRecipe(**{**SETTINGS, "workdir": str(where), **changes})


def run(where, **changes):
    chosen = recipe(where, **changes)
    return as_command.run(chosen, classification.make_experiment(chosen))


def final_state(where, chosen=None):
    """The arrays of the newest checkpoint, by path, and its step."""
    manager = checkpoint.Checkpoints(Path(where) / "checkpoints")
    step = manager.steps()[-1]
    arrays = manager.meta(step)
    manager.close()
    return step, arrays["crc32"]


def results(where):
    """The rows of metrics.jsonl without what depends on the clock."""
    return [
        {name: value for name, value in row.items() if not name.startswith("wall_")}
        for row in log.read_rows(Path(where) / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    where = tmp_path_factory.mktemp("undisturbed")
    assert run(where) == 0
    return where


def stop_at(step, monkeypatch, number=signal.SIGTERM):
    """Sends a signal to this process while the batch of `step` is being made."""
    from cnn_jax.data import pipeline

    make = pipeline.TrainBatches._make

    def making(self, at):
        if at == step:
            os.kill(os.getpid(), number)
        return make(self, at)

    monkeypatch.setattr(pipeline.TrainBatches, "_make", making)


@pytest.mark.parametrize(
    ("number", "step"), [("SIGTERM", 2), ("SIGTERM", 13), ("SIGTERM", 20), ("SIGHUP", 13)]
)
def test_a_signal_saves_and_the_rest_is_bit_identical(
    number, step, undisturbed, tmp_path, monkeypatch, capsys
):
    stop_at(step, monkeypatch, signal.Signals[number])
    assert run(tmp_path) == 0
    monkeypatch.undo()
    assert not (tmp_path / "result.json").exists()
    stopped, _ = final_state(tmp_path)
    assert stopped < 30
    assert f"{number}: saved step {stopped} of 30" in capsys.readouterr().out
    assert run(tmp_path) == 0
    assert final_state(tmp_path) == final_state(undisturbed)
    assert results(tmp_path) == results(undisturbed)
    result = json.loads((tmp_path / "result.json").read_text())
    reference = json.loads((undisturbed / "result.json").read_text())
    assert result["test_accuracy"] == reference["test_accuracy"]


def test_sighup_that_nohup_ignores_stops_nothing(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_at(1, monkeypatch, signal.SIGHUP)
    try:
        assert run(tmp_path, steps=3) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "result.json").exists()


def test_finished_run_is_not_trained_again(undisturbed):
    before = final_state(undisturbed)
    rows = results(undisturbed)
    assert run(undisturbed) == 0
    assert final_state(undisturbed) == before
    assert results(undisturbed) == rows


@pytest.mark.parametrize(
    ("layout", "devices"),
    [
        ("pmap", 1),
        *(pytest.param(*how, marks=pytest.mark.slow) for how in (("jit", 4), ("pmap", 4))),
    ],
)
def test_other_layout_goes_on_from_the_same_numbers(
    layout, devices, undisturbed, tmp_path, monkeypatch
):
    """A run begun on one device under jit ends elsewhere with the figures it would have had."""
    stop_at(13, monkeypatch)
    run(tmp_path)
    monkeypatch.undo()
    assert final_state(tmp_path)[0] < 30
    assert run(tmp_path, layout=layout, devices=devices) == 0
    ours = [row for row in results(tmp_path) if row["split"] == "test"]
    theirs = [row for row in results(undisturbed) if row["split"] == "test"]
    assert [row["step"] for row in ours] == [10, 20, 30]
    # float32 sums in another order, sixteen steps long
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine["loss"], reference["loss"], rtol=1e-3)


def test_another_experiment_is_refused(undisturbed):
    with pytest.raises(ValueError, match=r"`learning_rate` was 0\.05 and is now 0\.1"):
        run(undisturbed, learning_rate=0.1)
    with pytest.raises(ValueError, match="resume=False"):
        run(undisturbed, resume=False)
    with contextlib.ExitStack() as held:  # what changes no result
        workdir.open_workdir(recipe(undisturbed, log_every=7), name="mlp-digits", held=held)


def test_other_classes_are_refused(undisturbed):
    chosen = recipe(undisturbed)
    experiment = classification.make_experiment(chosen)
    other = experiment._replace(facts=dataclasses.replace(experiment.facts, num_classes=11))
    with pytest.raises(ValueError, match="has num_classes 10, and this run has 11"):
        as_command.run(chosen, other)


@pytest.mark.slow
def test_sigkill_at_random_steps(undisturbed, tmp_path):
    """Killed four times without warning, at random moments; then left alone."""
    flags = [
        f"--{field.name}={getattr(recipe(tmp_path), field.name)}"
        for field in dataclasses.fields(classification.ClassificationRecipe)
        if field.name in (*SETTINGS, "workdir")
    ]
    command = [sys.executable, "-m", "experiments.classification", *flags, "--devices=1"]
    chance = random.Random(0)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seen = len(results(tmp_path))
        while process.poll() is None and len(results(tmp_path)) <= seen:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
        kills += process.returncode == -signal.SIGKILL
        process.stderr.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert kills >= 1
    assert final_state(tmp_path) == final_state(undisturbed)
    assert results(tmp_path) == results(undisturbed)
