"""A contender of `experiments.benchmark.train_step`, in a process of its own.

It builds the steps and says so by a line of JSON, does then what each line of stdin names
(`first`, `train`, `evaluate`) and answers each with another line. All begin with the same weights,
which a file holds: the first of JAX's contenders writes it, PyTorch's read it.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np

from experiments.benchmark import networks, timing

WAIT = True  # whether ours have memory.wait_for_programs, as in experiments.classification
JAX = ("ours", "ours_frozen", "pure_jax", "stock")
TORCH = ("torch", "torch_compile", "torch_frozen")


def build(contender: str, network: networks.Network, weights: str) -> Any:
    """The steps of a contender: `evaluate` and `parameters`, and `train` if it can train."""
    x, y = networks.arrays(network)
    if contender in JAX:
        if contender == "pure_jax":  # as on ARM and macOS, where jaxlib has no oneDNN
            os.environ["CNN_JAX_ONEDNN"] = "0"
        import cnn_jax.cpu
        from cnn_jax.cpu import memory
        from experiments.benchmark.jax_steps import JaxSteps

        if contender != "stock":
            if WAIT:
                memory.wait_for_programs()
            cnn_jax.cpu.enable()
        if contender == "ours_frozen":
            from experiments.benchmark.frozen_steps import FrozenSteps

            return FrozenSteps(network, x)
        return JaxSteps(network, x, y, save="" if os.path.exists(weights) else weights)
    from experiments.benchmark.pytorch import frozen
    from experiments.benchmark.pytorch.train_step import Steps

    compiled = contender == "torch_compile"
    given = weights if os.path.exists(weights) else ""
    if contender == "torch_frozen":
        return frozen.FrozenSteps(network.name, x, y, network.num_classes, given)
    return Steps(network.name, x, y, network.num_classes, compile=compiled, weights=given)


def first(steps: Any, y: np.ndarray) -> dict[str, float]:
    """The losses of the initial weights: in evaluation, and of the first training step.

    Later ones differ, since each contender rounds in another way and trains on its own weights.
    """
    begun = time.perf_counter()
    found = {"evaluate": networks.cross_entropy(np.asarray(steps.evaluate()), y)}
    if hasattr(steps, "train"):
        found["train"] = float(steps.train())
    return {**found, "seconds": round(time.perf_counter() - begun, 1)}


def main(contender: str, name: str, weights: str) -> None:
    """Serves until stdin ends."""
    (network,) = (row for row in networks.TABLE if row.name == name)
    steps = build(contender, network, weights)
    facts = {
        "parameters": steps.parameters(),
        "trains": hasattr(steps, "train"),
        "compile_seconds": getattr(steps, "compile_seconds", None),
    }
    print(json.dumps(facts), flush=True)
    for what in map(str.strip, sys.stdin):
        answer: dict[str, Any] = {}
        if what == "first":
            answer["first"] = first(steps, networks.arrays(network)[1])
        else:
            getattr(steps, what)()
        print(json.dumps({**answer, "peak_mib": timing.peak_memory() // 2**20}), flush=True)
