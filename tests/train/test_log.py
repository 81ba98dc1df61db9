"""The rows of a run's log, whatever became of the file."""

import json

import pytest

from cnn_jax.train import log

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
