"""Sizes and costs by formula and by JAX, and a task that only a border can solve."""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.analysis import flops
from cnn_jax.train.replicas import accuracies, predict_replicas
from cnn_jax.typing import HostBatch
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, on_canvas
from experiments.concepts.measuring.training import train_to

INPUTS, KERNELS, STRIDES = (1, 2, 5, 8, 13, 28, 32, 224), range(1, 8), range(1, 5)
PADDINGS, DILATIONS = range(4), (1, 2)
LAYERS = (1, 2, 4)  # layers whose border is drawn
SIDE = 12  # of a white image on which a digit stands left or right


class Where(nn.Module):
    """Three convolutions and a mean over all positions: is the digit left or right?"""

    padding: str

    @nn.compact
    def __call__(self, x, *, train):
        for i, width in enumerate((8, 16, 16), start=1):
            x = nn.relu(nn.Conv(width, (3, 3), padding=self.padding, name=f"conv{i}")(x))
        return nn.Dense(2, name="head")(x.mean((1, 2)))


def measure(effort: Effort) -> dict[str, Any]:
    sizes = [
        (_formula(*each), _of_jax(*each))
        for each in itertools.product(INPUTS, KERNELS, STRIDES, PADDINGS, DILATIONS)
        if each[4] * (each[1] - 1) + 1 <= each[0] + 2 * each[3]  # the window fits
    ]
    return {
        "compared": len(sizes),
        "agree": sum(ours == theirs for ours, theirs in sizes),
        "parameters": _parameters(),
        "work": {str(stride): _work(stride) for stride in (1, 2, 4)},
        "shrinks": _shrinks(),
        "border": _border(),
        "where": {padding: _where(padding, effort) for padding in ("SAME", "CIRCULAR")},
    }


def _formula(n: int, k: int, s: int, p: int, d: int) -> int:
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def _of_jax(n: int, k: int, s: int, p: int, d: int) -> int:
    shapes = (
        jax.ShapeDtypeStruct((1, 1, n), np.float32),
        jax.ShapeDtypeStruct((1, 1, k), np.float32),
    )
    out = jax.eval_shape(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (s,), [(p, p)], rhs_dilation=(d,)), *shapes
    )
    return int(out.shape[2])


def _parameters() -> list[int]:
    """How many layers were compared, and in how many the formula counts what Flax makes."""
    right = []
    for into, out, k in itertools.product((1, 3, 16), (1, 8, 32), (1, 3, 5)):
        layer, x = nn.Conv(out, (k, k)), jax.ShapeDtypeStruct((1, 8, 8, into), np.float32)
        made = jax.eval_shape(lambda x, layer=layer: layer.init(jax.random.key(0), x), x)
        count = sum(leaf.size for leaf in jax.tree.leaves(made))
        right.append(count == (k * k * into + 1) * out)
    return [len(right), sum(right)]


def _work(stride: int) -> int:
    """Multiply-adds of a convolution of 3x3 from 16 to 16 channels on 32x32."""
    x, w = jnp.zeros((1, 32, 32, 16)), jnp.zeros((3, 3, 16, 16))
    return flops.multiply_adds(
        lambda x, w: jax.lax.conv_general_dilated(
            x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        x,
        w,
    )


def _shrinks() -> list[int]:
    """Sides of an image of 8x8 after each layer of 3x3 without padding, as long as there is one."""
    sides = [8]
    while sides[-1] >= 3:
        sides.append(_of_jax(sides[-1], 3, 1, 0, 1))
    return sides


def _border() -> list[np.ndarray]:
    """A white image of 11x11 after so many layers of 3x3 that take the mean, padded with zeros."""
    maps, x = [], np.ones((11, 11))
    for layer in range(1, max(LAYERS) + 1):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, 1), (3, 3))
        x = windows.mean((2, 3))
        if layer in LAYERS:
            maps.append(x)
    return maps


def _sides(part: str, seed: int) -> HostBatch:
    """Black digits on white, and whether each is in the right half; none in the middle."""
    data = on_canvas(digits(part), SIDE, seed=seed)
    column = data["place"][:, 1]
    kept = column != (SIDE - 8) // 2
    label = (column > (SIDE - 8) // 2).astype(np.int32)
    return {"image": 1 - data["image"][kept], "label": label[kept]}


def _where(padding: str, effort: Effort) -> dict[str, Any]:
    model, train, test = Where(padding), _sides("train", 0), _sides("test", 1)
    fitted = train_to(
        model,
        train,
        test=test,
        loss=0.05,
        at_most=effort.steps(800, 4000),
        seeds=effort.seeds,
        batch_size=64,
        rate=3e-3,
        classes=2,
    )
    logits = predict_replicas(model, fitted.variables, test["image"])
    return {
        "test": accuracies(logits, test["label"]),
        "train": [curve[-1].accuracy for curve in fitted.curves],
        "steps": fitted.steps,
        "loss": fitted.losses,
    }
