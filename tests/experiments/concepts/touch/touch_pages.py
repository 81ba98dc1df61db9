"""A page to touch of untrained networks, made in a second, for the tests."""

import functools
from pathlib import Path

import jax
import numpy as np

from experiments.concepts.touch import contents, data, networks, packing
from experiments.concepts.touch.training import Snapshot

GOLDEN_RUNS = Path(__file__).parents[2] / "golden_runs" / "runs"


def _expectation(name, holds):
    return {
        "name": name,
        "claim": {"en": f"The [[pooling]] claim {name}", "zh": f"[[pooling|池化]]的第 {name} 条"},
        "expected": "> 0",
        "measured": {"en": "+3.1 (2.0 ... 4.4) %", "zh": "+3.1（2.0 ... 4.4）%"},
        "holds": holds,
        "why_not": None if holds else {"en": "Too few seeds: 3.", "zh": "种子太少：3 个。"},
        "values": [{"label": {"en": "with", "zh": "有池化"}, "seeds": [91.0, 93.5, 92.0]},
                   {"label": "0.5", "seeds": [80.0, None, 82.0]}],
        "unit": "%",
    }  # fmt: skip


FINDINGS = {
    "version": 1,
    "sections": {
        "pooling": {
            "number": 5, "name": "pooling", "title": {"en": "Pooling", "zh": "池化"},
            "guess": {"en": "What do you expect?", "zh": "你觉得会怎样？"},
            "values": {"left": "out"},
            "expectations": [_expectation("1", True), _expectation("2", False)],
        },
        "pixels": {
            "number": 0, "name": "pixels", "title": {"en": "Numbers", "zh": "数"},
            "guess": {"en": "And here?", "zh": "这里呢？"},
            "expectations": [_expectation("3", True)],
        },
    },
}  # fmt: skip


def variables_of(model, shape, seed=0):
    """Variables as a training leaves them, drawn without running the network's own initialisation,
    which is slow: statistics and biases are not trivial."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, *shape), np.float32), train=False)
    )

    def draw(path, leaf):
        name, noise = path[-1].key, rng.normal(size=leaf.shape).astype(np.float32)
        if name in ("var", "scale"):
            return 1 + 0.3 * np.abs(noise)
        return noise * np.float32((2 / np.prod(leaf.shape[:-1])) ** 0.5 if leaf.ndim > 1 else 0.1)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _untrained(model, shape, steps=(0, 5)):
    snapshots = [Snapshot(step, variables_of(model, shape, seed=step)) for step in steps]
    return contents.network(model, snapshots, shape)


@functools.cache
def tiny():
    """(contents of a page of untrained networks, layers of its classifier, 20 golden images)."""
    small, labels = data.small_digits("test")
    small, labels = small[:20], labels[:20]
    images = data.canvases(small)
    net, last = _untrained(networks.Digit(), (24, 24, 1), steps=(0, 1, 5))
    for snapshot in net["snapshots"]:
        snapshot["accuracy"] = 0.1
    order = np.random.default_rng(0).permutation(24 * 24)
    made = {
        "net": net,
        "classes": [str(k) for k in range(10)],
        "order": packing.numbers(order, "<u2"),
        "tests": {
            "n": 20, "small": packing.numbers(small, "u1"), "labels": packing.numbers(labels, "u1"),
            "enlarging": data.enlarging().tolist(), "level": data.LEVEL, "gain": data.GAIN,
            "first": 0,
        },
        "check": contents.agreement(last, images[:2]),
        "source": {
            "kind": "own", "examples": 1438, "seconds": 1, "accuracy": 0.1, "tested": 20,
            "parameters": packing.parameters(last), "command": "python -m experiments",
        },
        "variants": {},
        "curve": {"nets": {}},
        "findings": contents_of_findings(),
    }  # fmt: skip
    strided, _ = _untrained(networks.Digit(subsampling="stride"), (24, 24, 1), steps=(5,))
    made["variants"]["stride"] = {
        "net": {"layers": strided["layers"]}, "snapshot": strided["snapshots"][0], "step": 5,
    }  # fmt: skip
    for way in ("none", "stride", "mean", "pool"):
        one, _ = _untrained(networks.Curve(widths=(4, 4), subsampling=way), (40, 1), steps=(5,))
        made["curve"]["nets"][way] = {
            "net": {"layers": one["layers"]}, "snapshot": one["snapshots"][0], "accuracy": 0.1,
        }  # fmt: skip
    curves = data.curves("test")
    made["curve"]["samples"] = packing.numbers(curves["image"][:3], "<f4")
    made["curve"]["labels"] = packing.numbers(curves["label"][:3], "u1")
    scene, scene_layers = _untrained(networks.Scene(widths=(4, 4)), (48, 48, 1), steps=(5,))
    made["scene"] = {
        "net": {"layers": scene["layers"]}, "snapshot": scene["snapshots"][0], "side": 48,
        "parameters": packing.parameters(scene_layers), "ink": 0.1, "tested": 10,
    }  # fmt: skip
    return made, last, images


def contents_of_findings():
    """FINDINGS as the page has them."""
    kept = ("number", "name", "title", "guess", "expectations")
    return {
        "sections": {
            name: {key: section[key] for key in kept}
            for name, section in FINDINGS["sections"].items()
        }
    }
