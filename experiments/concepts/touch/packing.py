"""Networks as JSON: layers as data, weights as half-precision numbers in text."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.concepts.touch.layers import Layer

LARGEST = 65504.0  # of half precision


def rounded(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with the weights that the page has: rounded to half precision, where they fit."""
    kind = _kind(layers)
    return [
        layer._replace(
            arrays={
                name: value.astype(kind).astype(np.float32) for name, value in layer.arrays.items()
            }
        )
        for layer in layers
    ]


def described(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The layers as JSON, with the names and shapes of their arrays."""
    return [
        {
            "op": layer.op,
            "name": layer.name,
            "inputs": list(layer.inputs),
            "shape": list(layer.shape),
            "arrays": [[name, list(value.shape)] for name, value in layer.arrays.items()],
            **layer.settings,
        }
        for layer in layers
    ]


def weights(layers: Sequence[Layer]) -> dict[str, str]:
    """The arrays of all layers, one after the other: {'kind': 'f2', 'weights': text}.

    The text is base 85, which takes 5 characters for 4 bytes where base64 takes 5.3: so 300,000
    numbers have room in a page. A comma stands for '<', which HTML would have escaped.
    """
    kind = _kind(layers)
    values = [value.ravel() for layer in layers for value in layer.arrays.values()]
    row = np.concatenate([*values, np.zeros(0, np.float32)]).astype(f"<{kind}")
    data = row.tobytes() + bytes(-row.nbytes % 4)
    return {"kind": kind, "weights": base64.b85encode(data).decode().replace("<", ",")}


def parameters(layers: Sequence[Layer]) -> int:
    """Number of the weights that the page holds."""
    return sum(value.size for layer in layers for value in layer.arrays.values())


def numbers(values: np.ndarray, kind: str) -> str:
    """Numbers as base64, in this type: 'u1', '<f2' or '<f4'."""
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode()


def _kind(layers: Sequence[Layer]) -> str:
    most = max(
        (np.abs(v).max(initial=0) for each in layers for v in each.arrays.values()), default=0
    )
    return "f2" if most <= LARGEST else "f4"
