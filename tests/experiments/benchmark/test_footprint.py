"""What the memory of a step consists of: each part is where it belongs."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags

from experiments.benchmark import footprint, serve

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
MIB = 2**20


class Steps:
    """Takes 128 MiB while it compiles, keeps 32 MiB, and takes 64 MiB in each step."""

    def __init__(self):
        self.made = 0
        touched = np.ones(128 * MIB, np.uint8)
        self.kept = np.ones(32 * MIB, np.uint8)
        del touched

    def train(self):
        self.made += 1
        return np.ones(64 * MIB, np.uint8)[0]

    def memory_analysis(self):
        return SimpleNamespace(
            temp_size_in_bytes=64 * MIB, argument_size_in_bytes=MIB, alias_size_in_bytes=0
        )


def test_the_parts_of_the_memory_are_told_apart(monkeypatch):
    steps = []
    monkeypatch.setattr(serve, "build", lambda *given: steps.append(Steps()) or steps[0])
    options = {"steps": 3, "trim": True, "room": True, "wait": True}
    footprint.forget_peak()
    found = footprint.measure("ours", "resnet18", options)
    assert steps[0].made == 3
    assert found["compile"] - found["before"] > 90
    assert 60 <= found["step"] <= 80  # three steps, of which each frees what it took
    assert found["peak"] == found["compile"]
    assert (found["temporary"], found["arguments"], found["aliased"]) == (64, 1, 0)


def test_ratios_are_those_of_each_network(monkeypatch, tmp_path, capsys):
    sizes = {
        ("ours", "resnet18"): 200,
        ("torch", "resnet18"): 100,
        ("ours", "unet"): 100,
        ("torch", "unet"): 200,
    }
    monkeypatch.setattr(
        footprint,
        "apart",
        lambda name, network, options: dict.fromkeys(("step", "peak"), sizes[name, network]),
    )
    monkeypatch.setattr(footprint.importlib.util, "find_spec", lambda name: True)
    footprint.main(parsed("--networks=resnet18,unet", f"--workdir={tmp_path}"))
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["step_vs_torch"] == written["peak_vs_torch"] == 1.0
    assert "unet" in capsys.readouterr().out
    with pytest.raises(ValueError, match="choose from resnet18"):
        footprint.main(parsed("--networks=lenet"))


def parsed(*given):
    values = flags.FlagValues()
    footprint.define(values)
    values(["footprint", *given])
    return values
