"""What units can see, what they use, and tasks that need a certain field."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnn_jax import models
from cnn_jax.analysis.receptive_field import effective_side, middle_gradient, receptive_fields
from cnn_jax.train.replicas import accuracies, predict_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.training import train_to

DEPTHS = (2, 4, 8, 16, 32)
CHANNELS, LENGTH = 16, 97
SPAN = 10  # the task: at the last step, predict the sign of the value SPAN steps before
BLOCKS = (1, 2, 3, 4)  # numbers of blocks of a TCN with kernels of 2: they see 3, 7, 15, 31 steps
WIDER = {"plain": (1, 1), "strided": (2, 1), "dilated": (1, 2)}  # factor of stride, of dilation


class Stack(nn.Module):
    """One-dimensional convolutions with kernels of 3 and ReLU, with random weights.

    Attributes:
        stride: of every layer.
        dilation: by which the gaps grow from layer to layer.
    """

    depth: int
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.he_normal()
        for i in range(self.depth):
            conv = nn.Conv(
                CHANNELS,
                (3,),
                strides=self.stride,
                kernel_dilation=self.dilation**i,
                kernel_init=init,
                name=f"conv{i}",
            )
            x = nn.relu(conv(x))
        return x


def measure(effort: Effort) -> dict[str, Any]:
    weights = {depth: _effective(depth, effort.seeds) for depth in DEPTHS}
    return {
        "theory": {str(depth): _size(Stack(depth), CHANNELS) for depth in DEPTHS},
        "sides": {str(d): [effective_side(each) for each in weights[d]] for d in DEPTHS},
        "curves": {str(depth): np.mean(weights[depth], axis=0) for depth in DEPTHS},
        "wider": {name: _size(Stack(4, *grown), CHANNELS) for name, grown in WIDER.items()},
        "task": {str(blocks): _task(blocks, effort) for blocks in BLOCKS},
        "span": SPAN,
    }


def _size(model: nn.Module, channels: int) -> int:
    *_, last = receptive_fields(model, rank=1, channels=channels).values()
    assert last.size is not None
    return last.size


def _effective(depth: int, seeds: range) -> list[np.ndarray]:
    """Shares of the gradient of the middle output over the inputs, for each seed."""
    model = Stack(depth)

    @jax.jit
    def gradient(key):
        x = jax.random.normal(key, (32, LENGTH, CHANNELS))
        return middle_gradient(model, model.init(key, x[:1]), x)

    found = [np.asarray(gradient(jax.random.key(seed)), np.float64) for seed in seeds]
    return [each / each.sum() for each in found]


def _task(blocks: int, effort: Effort) -> dict[str, Any]:
    model = models.create("tcn", num_classes=2, channels=(16,) * blocks, kernel=2, drop_rate=0)
    backbone = models.create("tcn", num_classes=None, channels=(16,) * blocks, kernel=2)
    train, test = _signs(8192, 0), _signs(2048, 1)
    fitted = train_to(
        model,
        train,
        test=test,
        loss=0.02,
        at_most=effort.steps(600, 3000),
        seeds=effort.seeds,
        batch_size=64,
        rate=5e-3,
        classes=2,
    )
    logits = predict_replicas(model, fitted.variables, test["image"])
    return {
        "sees": _size(backbone, 1),
        "test": accuracies(logits, test["label"]),
        "train": [curve[-1].accuracy for curve in fitted.curves],
        "loss": fitted.losses,
        "steps": fitted.steps,
    }


def _signs(examples: int, seed: int) -> dict[str, np.ndarray]:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (examples, 16, 1)).astype(np.float32)
    return {"image": signs, "label": (signs[:, -1 - SPAN, 0] > 0).astype(np.int32)}
