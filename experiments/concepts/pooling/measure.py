"""Networks that subsample in different ways, in space and in time, and shifted inputs."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.analysis import summary
from cnn_jax.train.replicas import accuracies, predict_replicas
from cnn_jax.typing import HostBatch
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, mnist1d, on_canvas
from experiments.concepts.measuring.training import train_to

KINDS = ("none", "strided", "max", "mean", "blurred")
HEADS = ("flat", "mean", "max")  # what comes after the convolutions in time
SIDE = 12
SHIFTS = (0, 1, 2, 3, 4)  # pixels, down and to the right; samples in time
LOSS = 0.1  # on the training set
BATCH, RATE = 32, 5e-3
FREQUENCY, SAMPLES = 0.4, 200  # cycles for each sample of a sine


class Network(nn.Module):
    """Three 3x3 convolutions, two of them followed by subsampling by 2; a mean; a dense layer.

    Images wrap around at the borders, so a shift moves everything and loses nothing.
    """

    kind: str

    @nn.compact
    def __call__(self, x, *, train):
        for i, width in enumerate((8, 16), start=1):
            stride = 2 if self.kind == "strided" else 1
            conv = nn.Conv(width, (3, 3), strides=stride, padding="CIRCULAR", name=f"conv{i}")
            x = subsample(nn.relu(conv(x)), self.kind)
        x = nn.relu(nn.Conv(24, (3, 3), padding="CIRCULAR", name="conv3")(x))
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def subsample(x, kind: str):
    """[B, H, W, C] -> [B, H / 2, W / 2, C], for the kinds that follow the convolution."""
    if kind == "max":
        return nn.max_pool(x, (2, 2), (2, 2))
    if kind == "mean":
        return nn.avg_pool(x, (2, 2), (2, 2))
    if kind == "blurred":  # Zhang 2019, arXiv:1904.11486: [1, 2, 1] / 4, then every second
        for axis in (1, 2):
            x = (jnp.roll(x, 1, axis) + 2 * x + jnp.roll(x, -1, axis)) / 4
        return x[:, ::2, ::2]
    return x


class InTime(nn.Module):
    """Three convolutions over time, without subsampling; then all positions, their mean or largest.

    Curves wrap around at the ends.
    """

    head: str

    @nn.compact
    def __call__(self, x, *, train):
        for i in range(1, 4):
            x = nn.relu(nn.Conv(16, (5,), padding="CIRCULAR", name=f"conv{i}")(x))  # [B, 40, 16]
        if self.head == "flat":
            x = x.reshape(x.shape[0], -1)
        else:
            x = x.mean(1) if self.head == "mean" else x.max(1)
        return nn.Dense(10, name="head")(x)


def measure(effort: Effort) -> dict[str, Any]:
    train, test = (on_canvas(digits(part), SIDE) for part in ("train", "test"))
    space = {}
    for kind in KINDS:
        space[kind] = _train(Network(kind), train, test, (1, 2), effort.steps(2400, 8000), effort)
        layers = summary.summarise(Network(kind), (SIDE, SIDE, 1))
        space[kind]["multiply_adds"] = summary.total(layers)["multiply_adds"]
    train, test = mnist1d("train"), mnist1d("test")
    time = {
        head: _train(InTime(head), train, test, (1,), effort.steps(1600, 8000), effort)
        for head in HEADS
    }
    return {"space": space, "time": time, "sine": _sine()}


def _train(
    model: nn.Module, train: HostBatch, test: HostBatch, axes, at_most: int, effort: Effort
) -> dict[str, Any]:
    """Trains, and asks again with every test example shifted along the axes."""
    fitted = train_to(
        model,
        train,
        test=test,
        loss=LOSS,
        at_most=at_most,
        seeds=effort.seeds,
        batch_size=BATCH,
        rate=RATE,
    )
    said, right = [], []
    for shift in SHIFTS:
        moved = np.roll(test["image"], (shift,) * len(axes), axes)
        logits = predict_replicas(model, fitted.variables, moved)
        right.append(accuracies(logits, test["label"]))
        said.append(logits.argmax(-1))
    return {
        "train": [curve[-1].accuracy for curve in fitted.curves],
        "loss": fitted.losses,
        "steps": fitted.steps,
        "test": right,  # [shifts][seeds]
        "same": [(each == said[0]).mean(-1) for each in said],
    }


def _sine() -> dict[str, Any]:
    """A sine of which every second sample is kept: as it is, after a mean or a maximum of two."""
    x = np.sin(2 * np.pi * FREQUENCY * np.arange(SAMPLES))
    pairs = x.reshape(-1, 2)
    kept = {"every": x[::2], "mean": pairs.mean(1), "max": pairs.max(1)}
    swing = {name: float(np.sqrt(2) * each.std()) for name, each in kept.items()}
    spectrum = abs(np.fft.rfft(kept["every"]))
    return {
        "first": x[:20],
        "kept": {name: each[:10] for name, each in kept.items()},
        "swing": {name: each / (np.sqrt(2) * x.std()) for name, each in swing.items()},
        "frequency": float(np.fft.rfftfreq(len(kept["every"]))[spectrum.argmax()]),
    }
