"""The activations of a list of layers as JAX computes them: what the page must agree with."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.typing import Array
from experiments.concepts.touch.layers import Layer

_WINDOWS = ("NHWC", "HWIO", "NHWC")


def activations(layers: Sequence[Layer], images: np.ndarray) -> list[np.ndarray]:
    """What every layer gives for images [N, H, W, C]: float32 [N, H, W, C] of each."""
    made = _program(layers, last=False)(_arrays(layers), jnp.asarray(images, jnp.float32))
    return [np.asarray(each) for each in made]


def logits(layers: Sequence[Layer], images: np.ndarray, *, batch: int = 100) -> np.ndarray:
    """The logits of images: float32 [N, H, W, K] of a map, or [N, K]."""
    program, arrays, parts = _program(layers, last=True), _arrays(layers), []
    batch = min(batch, len(images))
    for start in range(0, len(images), batch):
        part = images[start : start + batch].astype(np.float32)
        padded = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.float32)])
        parts.append(np.asarray(program(arrays, padded)[0])[: len(part)])
    made = np.concatenate(parts)
    return made.reshape(len(made), -1) if made.shape[1:3] == (1, 1) else made


def _arrays(layers: Sequence[Layer]) -> list[dict[str, np.ndarray]]:
    return [layer.arrays for layer in layers]


def _program(layers: Sequence[Layer], *, last: bool) -> Callable[..., list[Array]]:
    """(arrays of the layers, images) -> what all layers give, or the last one."""
    bare = [[*layer[:4], layer.settings] for layer in layers]
    return _compiled(json.dumps(bare), last)


@functools.lru_cache(maxsize=32)
def _compiled(described: str, last: bool) -> Callable[..., list[Array]]:
    """One program for all moments of a training, which differ in the weights alone."""
    bare = [
        Layer(op, name, tuple(inputs), tuple(shape), settings, {})
        for op, name, inputs, shape, settings in json.loads(described)
    ]

    def run(arrays: Sequence[dict[str, Array]], x: Array) -> list[Array]:
        made: list[Array] = []
        for layer, own in zip(bare, arrays, strict=True):
            given = [made[i] for i in layer.inputs] or [x]
            made.append(_one(layer, own, given).reshape(len(x), *layer.shape))
        return made[-1:] if last else made

    return jax.jit(run)


def _one(layer: Layer, w: Mapping[str, Array], given: list[Array]) -> Array:
    x, s = given[0], layer.settings
    match layer.op:
        case "input":
            return x
        case "conv":
            y = lax.conv_general_dilated(
                x, w["kernel"], s["stride"], s["padding"], rhs_dilation=s["dilation"],
                dimension_numbers=_WINDOWS, feature_group_count=s["groups"],
                precision=lax.Precision.HIGHEST,
            )  # fmt: skip
            return y + w.get("bias", 0)
        case "dense":
            flat = x.reshape(len(x), -1)
            y = jnp.matmul(flat, w["kernel"], precision=lax.Precision.HIGHEST)
            return y + w.get("bias", 0)
        case "scale":
            return x * w["factor"] + w["summand"]
        case "clip":
            return jnp.clip(x, s["low"], s["high"])
        case "act":
            return getattr(lax, s["kind"])(x)
        case "add":
            return x + given[1]
        case "mul":
            return x * given[1]
        case "concat":
            return jnp.concatenate(given, axis=-1)
        case "maxpool" | "sumpool" | "meanpool":
            return _pool(layer, x)
        case "mean" | "sum" | "max":
            return getattr(x, layer.op)((1, 2))
        case "flatten":
            return x
        case "spread":
            return jnp.broadcast_to(x, (len(x), *layer.shape))
        case "slice":
            (top, left), (down, right) = s["start"], s["stride"]
            height, width, _ = layer.shape
            return x[:, top::down, left::right][:, :height, :width]
        case "pad":
            pads: list[Any] = [(0, 0)]
            for before, n, size in zip(s["before"], x.shape[1:], layer.shape, strict=True):
                pads.append((before, size - n - before))
            return jnp.pad(x, pads)
    raise ValueError(f"op={layer.op!r}: no operation of a layer.")


def _pool(layer: Layer, x: Array) -> Array:
    s = layer.settings
    start, combine = (-jnp.inf, lax.max) if layer.op == "maxpool" else (0.0, lax.add)
    pads = [(0, 0), *map(tuple, s["padding"]), (0, 0)]
    y = lax.reduce_window(x, start, combine, (1, *s["window"], 1), (1, *s["stride"], 1), pads)
    return y / s["count"] if layer.op == "meanpool" else y
