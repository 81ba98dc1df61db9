"""Runs in which a batch is spoiled: stopped, or finished, and the same however interrupted."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import pipeline
from cnn_jax.run import classification
from cnn_jax.train import checkpoint, log, nonfinite
from tests.run import as_command

SETTINGS = {
    "dataset": "mnist1d",
    "model": "mlp",
    "steps": 24,
    "batch_size": 32,
    "learning_rate": 0.05,
    "ema_decay": 0.9,
    "log_every": 4,
    "evaluate_every_steps": 12,
    "checkpoint_every_steps": 6,
    "rollback_every": 5,
    "figures": False,
    "compilation_cache": "",
    "devices": 1,
}


def run(where, **changes):
    chosen = classification.ClassificationRecipe(**{**SETTINGS, "workdir": str(where), **changes})
    return as_command.run(chosen, classification.make_experiment(chosen))


def outcome(where):
    """The checksums of the last state, and the rows without what the clock says."""
    manager = checkpoint.Checkpoints(Path(where) / "checkpoints")
    crc = manager.meta(manager.steps()[-1])["crc32"]
    manager.close()
    rows = [
        {name: value for name, value in row.items() if not name.startswith("wall_")}
        for row in log.read_rows(Path(where) / "metrics.jsonl")
    ]
    return crc, rows


@pytest.fixture
def disturbed(monkeypatch):
    """disturbed(spoil, stop): NaN in those batches, SIGTERM while that one is made."""
    make = pipeline.TrainBatches._make

    def disturb(spoil=(), stop=None):
        def making(self, at):
            if at == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            batch, *rest = make(self, at)
            if at in spoil:
                batch = {**batch, "image": np.full_like(batch["image"], np.nan)}
            return (batch, *rest)

        monkeypatch.setattr(pipeline.TrainBatches, "_make", making)

    return disturb


def test_stop_is_the_default(disturbed, tmp_path):
    disturbed(spoil=(8,))
    with pytest.raises(nonfinite.NonFiniteError, match=r"loss is nan.* at step 9.*step 6 is good"):
        run(tmp_path)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_interrupted_or_not_the_result_is_the_same(policy, disturbed, tmp_path, capsys):
    disturbed(spoil=(8, 13))
    assert run(tmp_path / "whole", on_nonfinite=policy) == 0
    said = capsys.readouterr().out
    assert "step 9: grad_norm is nan and loss is nan" in said, said
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert result["nonfinite_steps"] == 2
    crc, rows = outcome(tmp_path / "whole")
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert [row.get("nonfinite", 0) for row in rows if row["split"] == "train"] == [
        0, 0, 1, 2, 2, 2,
    ]  # fmt: skip
    for stop in (9, 14):  # just after one, and between one and what was kept
        disturbed(spoil=(8, 13), stop=stop)
        assert run(tmp_path / "parts", on_nonfinite=policy) == 0
        assert not (tmp_path / "parts" / "result.json").exists()
    disturbed(spoil=(8, 13))
    assert run(tmp_path / "parts", on_nonfinite=policy) == 0
    assert outcome(tmp_path / "parts") == (crc, rows)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_the_limit_ends_it(policy, disturbed, tmp_path):
    disturbed(spoil=range(8, 24))
    with pytest.raises(nonfinite.NonFiniteError, match=r"at step 12.*nonfinite_limit="):
        run(tmp_path, on_nonfinite=policy, nonfinite_limit=3)
    assert not (tmp_path / "result.json").exists()
    disturbed(spoil=(8, 9))  # the same command goes on from the last good state
    assert run(tmp_path, on_nonfinite=policy, nonfinite_limit=3) == 0


def test_settings_that_make_no_sense(tmp_path):
    for changes, part in [
        ({"nonfinite_limit": -1}, "nonfinite_limit"),
        ({"on_nonfinite": "rollback", "rollback_every": 0}, "at least 1"),
        ({"profile": "7"}, "START:STOP"),
        ({"profile": "9:7"}, "START:STOP"),
        ({"profile": "24:30"}, "24 steps"),
    ]:
        with pytest.raises(ValueError, match=part):
            run(tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()
