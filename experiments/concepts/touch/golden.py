"""The activations of a list of layers as JAX computes them: what the page must agree with."""

from collections.abc import Sequence
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

    def run(x: Array) -> list[Array]:
        made: list[Array] = []
        for layer in layers:
            given = [made[i] for i in layer.inputs] or [x]
            made.append(_one(layer, given).reshape(len(x), *layer.shape))
        return made

    return [np.asarray(each) for each in jax.jit(run)(jnp.asarray(images, jnp.float32))]


def logits(layers: Sequence[Layer], images: np.ndarray, *, batch: int = 100) -> np.ndarray:
    """The logits of images: float32 [N, H, W, K] of a map, or [N, K]."""
    parts = [activations(layers, images[i : i + batch])[-1] for i in range(0, len(images), batch)]
    made = np.concatenate(parts)
    return made.reshape(len(made), -1) if made.shape[1:3] == (1, 1) else made


def _one(layer: Layer, given: list[Array]) -> Array:
    x, s, w = given[0], layer.settings, layer.arrays
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
    pads = [(0, 0), *s["padding"], (0, 0)]
    y = lax.reduce_window(x, start, combine, (1, *s["window"], 1), (1, *s["stride"], 1), pads)
    return y / s["count"] if layer.op == "meanpool" else y
