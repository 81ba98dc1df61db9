"""The drill itself: a few of its rounds, and that it knows a round that went wrong."""

import json
import subprocess
import sys

import pytest

from experiments.drill import attempt as attempts


@pytest.mark.exhaustive
def test_what_cannot_go_on_says_so_and_goes_on_once_it_is_mended(tmp_path):
    faults = ("recipe lost", "shrunken set", "closed pipe", "the only one frozen")
    command = [sys.executable, "-m", "experiments.drill", f"--workdir={tmp_path / 'drill'}"]
    command += [f"--rounds={len(faults)}", f"--faults={','.join(faults)}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads((tmp_path / "drill" / "result.json").read_text())
    assert [result[name] for name in ("rounds", "struck", "identical", "hung")] == [4, 4, 4, 0]
    said = {made["fault"]: made["said"] for made in result["log"]}
    assert "recipe.flags" in said["recipe lost"]
    assert "examples and has" in said["shrunken set"]
    assert "no step within 12 s: the run was" in said["the only one frozen"]


def ending(status, output):
    return lambda directory, processes, fault, *, more=(): (status, output)


def test_one_clear_line_is_wanted(monkeypatch, tmp_path):
    made = attempts.Round("fault")
    monkeypatch.setattr(attempts, "attempt", ending(1, "error: recipe.flags is empty\n"))
    attempts.expect_one_line(tmp_path, made, naming="recipe.flags")
    assert (made.struck, made.attempts, made.said) == (True, 1, "error: recipe.flags is empty")
    for status, output in (
        (1, "Traceback\n"),
        (1, "error: a\nerror: b\n"),
        (0, "step 24/24\n"),  # it went on by other settings
        (2, "error: recipe.flags is empty\n"),
        (1, "error: something else\n"),
    ):
        monkeypatch.setattr(attempts, "attempt", ending(status, output))
        with pytest.raises(RuntimeError):
            attempts.expect_one_line(tmp_path, made, naming="recipe.flags")
