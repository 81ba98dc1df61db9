"""The rows of a run's log, whatever became of the file."""

import json
import types

import numpy as np
import pytest

from cnn_jax.analysis import figures as figures_module
from cnn_jax.train import log, reporting

ROWS = [{"step": step, "split": "train", "loss": 1.0 / step} for step in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "5",
        "null",
        "{}",
        '{"step": "x", "split": "test"}',
        '{"step": 3',
        "\xff\xfe",
        "[" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_damaged_line_costs_itself(damage, tmp_path):
    lines = [json.dumps(row) for row in ROWS]
    text = "\n".join([*lines[:2], damage, *lines[2:]]) + '\n{"step": 5, "spl'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="latin-1")
    assert log.read_rows(tmp_path / "metrics.jsonl") == ROWS
    with log.RunLog(tmp_path, first_step=3) as run_log:
        assert run_log.rows() == ROWS[:3]


def test_what_is_undefined_is_null_and_said_once(tmp_path):
    """Python's NaN is no JSON: jq, JavaScript and pandas refuse the file."""
    said = []
    with log.RunLog(tmp_path) as opened:
        opened.say = said.append
        reports = reporting.Reporting(opened)
        reports.on_begin(types.SimpleNamespace(steps=4, first=0, resumed={}, enter=lambda *_: None))
        for step in (2, 4):
            figures = {"mean_iou": float("nan"), "loss": float("inf"), "ap": np.float32(0.5)}
            reports.on_evaluation(step, figures, False)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [(row["mean_iou"], row["loss"], row["ap"]) for row in rows] == [(None, None, 0.5)] * 2
    assert said == [
        "step 2/4  test: ap 0.5000",
        "Undefined for this split, and null in metrics.jsonl: mean_iou, loss.",
        "step 4/4  test: ap 0.5000",
    ]
    figures_module.learning_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
