"""The survey of a run: said before the first step or beside the training, which it leaves alone."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.run import surveying


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A folder of two classes, of whose test images one is in train too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, count in (("train", 8), ("test", 4)):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(count):
                rng = np.random.default_rng(i + 100 * label + (10 if split == "test" and i else 0))
                image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
                image.save(tmp_path / "set" / split / name / f"{i}.png")
    return f"folder:{tmp_path / 'set'}"


def trained(dataset, workdir, **settings):
    """(rows of metrics.jsonl without times, survey.json)"""
    recipe = run.Recipe(
        **{
            "dataset": dataset, "model": "mlp", "image_size": 8, "steps": 2, "batch_size": 8,
            "figures": False, "compilation_cache": "", "devices": 1, "log_every": 1,
            "workdir": str(workdir), "validation_split": "", **settings,
        }
    )  # fmt: skip
    run.train(recipe, program=run.Program(quiet=True))
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: row[k] for k in row if k in ("step", "loss", "test_loss")} for row in rows]
    file = workdir / "survey.json"
    return kept, json.loads(file.read_text()) if file.exists() else None


def test_a_survey_changes_nothing_whenever_it_is_made(dataset, tmp_path, caplog, monkeypatch):
    rows, nothing = trained(dataset, tmp_path / "off", survey="off")
    assert nothing is None
    assert not caplog.records
    same, found = trained(dataset, tmp_path / "before")
    assert same == rows
    assert found["shared"]["spare"] == 2
    warning = "2 examples of test are also in train"
    assert sum(warning in record.getMessage() for record in caplog.records) == 1
    assert found["findings"][0]["kind"] == "warning"
    caplog.clear()
    monkeypatch.setattr(surveying, "BEFORE", 10)  # of 24 examples
    same, beside = trained(dataset, tmp_path / "beside")
    assert same == rows
    assert beside["shared"] == found["shared"]
    assert sum(warning in record.getMessage() for record in caplog.records) == 1


def test_images_that_cannot_be_read_end_the_run_before_it_begins(dataset, tmp_path):
    for i in range(5, 8):  # what the first batch shows is no matter
        (tmp_path / f"set/test/bee/{i}.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"3 of 11 images cannot be read: .*bee/.*Mend.*; skip_corrupt"
    ):
        trained(dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()
