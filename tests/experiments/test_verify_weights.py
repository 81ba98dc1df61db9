"""The comparison with PyTorch's networks, as a command."""

import json
import subprocess
import sys

import pytest


def run(*arguments, workdir):
    command = [sys.executable, "-m", "experiments.verify_weights", f"--workdir={workdir}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)


def test_a_network_equals_torchvisions(tmp_path):
    pytest.importorskip("torchvision")
    ended = run("--models=squeezenet1_1", workdir=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["passed"], result["failed"]) == (1, 0)
    assert result["rows"][0]["error"] <= result["tolerance"]


def test_a_package_that_is_not_installed_is_named_in_one_line():
    code = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "absent = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "importlib.util.find_spec = absent\n"
        "sys.argv = ['verify_weights', '--source=timm']\n"
        "runpy.run_module('experiments.verify_weights', run_name='__main__')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line == "error: --source=timm needs torch: pip install -e '.[torch]'"
