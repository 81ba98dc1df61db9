"""Commands that train: when a call of the step returns on a CPU."""

import pytest
from absl import flags

from cnn_jax import run
from cnn_jax.cpu import memory
from experiments import command, entry


def test_a_process_that_slurm_started_among_others_does_not_wait(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "a,b")
    test_a_run_on_one_device_waits_for_each_step(monkeypatch, [], False)
    test_a_run_on_one_device_waits_for_each_step(monkeypatch, ["--process_count=1"], True)


@pytest.mark.parametrize(
    ("more", "waits"),
    [([], True), (["--cpu_devices=2"], False), (["--coordinator=127.0.0.1:9"], False)],
)
def test_a_run_on_one_device_waits_for_each_step(monkeypatch, more, waits):
    called = []
    monkeypatch.setattr(memory, "wait_for_programs", lambda: called.append(True))
    monkeypatch.setattr(entry, "prepare_jax", lambda count: None)
    outcome = type("Outcome", (), {"interrupted": False})
    monkeypatch.setattr(run, "train", lambda recipe, program: outcome)
    values = flags.FlagValues()
    command.define(run.Recipe, values)
    values(["classification", *more])
    command.train(run.Recipe, values)
    assert bool(called) == waits
