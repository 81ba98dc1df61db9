"""Fully connected and convolutional networks, fitted equally well to equally many examples."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from cnn_jax import models
from cnn_jax.analysis import summary
from cnn_jax.train.replicas import accuracies, predict_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, mnist1d, on_canvas, subset
from experiments.concepts.measuring.training import Fitted, train_to

SIZES = {"mnist1d": (100, 1000, 4000), "digits": (100, 400, 1400)}  # training examples
LOAD = {"mnist1d": mnist1d, "digits": digits}
BATCH, RATE = 50, 3e-3
LOSS = 0.02  # on the training set: there both networks have fitted it
DEPTHS = (2, 4, 8, 12)  # fully connected layers with a sigmoid, untrained


class SmallCNN(nn.Module):
    """Two 3x3 convolutions, the second of stride 2, and a dense layer, for 8x8 digits."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(16, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, name="conv2")(x))  # [B, 4, 4, 32]
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


class Deep(nn.Module):
    """`depth` fully connected layers of 100 units with a sigmoid."""

    depth: int

    @nn.compact
    def __call__(self, x, *, train):
        x = x.reshape(x.shape[0], -1)
        for i in range(self.depth):
            x = nn.sigmoid(nn.Dense(100, name=f"dense{i:02}")(x))
        return nn.Dense(10, name="head")(x)


NETWORKS: dict[str, dict[str, nn.Module]] = {
    "mnist1d": {
        "dense": models.create("mnist1d_mlp", num_classes=10),
        "conv": models.create("mnist1d_cnn", num_classes=10),
    },
    "digits": {
        "dense": models.create("mlp", num_classes=10),
        "conv": SmallCNN(),
    },
}


def measure(effort: Effort) -> dict[str, Any]:
    fits = {
        data: {
            name: {str(size): _fit(data, model, size, effort) for size in SIZES[data]}
            for name, model in networks.items()
        }
        for data, networks in NETWORKS.items()
    }
    totals = {
        data: {
            name: summary.total(summary.summarise(model, LOAD[data]("test")["image"].shape[1:]))
            for name, model in networks.items()
        }
        for data, networks in NETWORKS.items()
    }
    train, test = (mnist1d(part, shuffled=True) for part in ("train", "test"))
    largest = SIZES["mnist1d"][-1]
    blind = {
        name: _train(model, subset(train, largest), test, effort)
        for name, model in NETWORKS["mnist1d"].items()
    }
    placed = [on_canvas(digits(part), 12, seed=i) for i, part in enumerate(("train", "test"))]
    anywhere = {
        name: _right(model, _train(model, placed[0], placed[1], effort), placed[1])
        for name, model in NETWORKS["digits"].items()
    }
    return {
        "anywhere": anywhere,
        "fits": fits,
        "totals": totals,
        "shuffled": {name: _right(NETWORKS["mnist1d"][name], f, test) for name, f in blind.items()},
        "photograph": _photograph(),
        "gradients": {str(depth): _gradients(depth, effort) for depth in DEPTHS},
    }


def _train(model: nn.Module, train, test, effort: Effort) -> Fitted:
    return train_to(
        model,
        train,
        test=test,
        loss=LOSS,
        at_most=effort.steps(6000, 20000),
        seeds=effort.seeds,
        batch_size=BATCH,
        rate=RATE,
    )


def _fit(data: str, model: nn.Module, size: int, effort: Effort) -> dict[str, Any]:
    train, test = subset(LOAD[data]("train"), size), LOAD[data]("test")
    fitted = _train(model, train, test, effort)
    return {
        "train": _right(model, fitted, train),
        "test": _right(model, fitted, test),
        "steps": fitted.steps,
        "losses": fitted.losses,
        "curve": [list(point) for point in fitted.curves[0]],
    }


def _right(model: nn.Module, fitted: Fitted, data) -> np.ndarray:
    return accuracies(predict_replicas(model, fitted.variables, data["image"]), data["label"])


def _photograph() -> dict[str, int]:
    """Parameters of a first layer for images of 224x224x3: 1,000 units, or 64 kernels of 3x3."""
    image = jax.ShapeDtypeStruct((1, 224 * 224 * 3), np.float32)
    layers = {
        "dense": (nn.Dense(1000), image),
        "conv": (nn.Conv(64, (3, 3)), jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)),
    }
    return {
        name: sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(_begin(layer), x)))
        for name, (layer, x) in layers.items()
    }


def _begin(layer: nn.Module):
    return lambda x: layer.init(jax.random.key(0), x)


def _gradients(depth: int, effort: Effort) -> list[float]:
    """log10 of the norm of the first layer's gradient, of untrained networks."""
    model, data = Deep(depth), subset(mnist1d("train"), 64)

    @jax.jit
    def norm(key):
        variables = model.init(key, data["image"][:1], train=False)

        def loss(params):
            logits = model.apply({"params": params}, data["image"], train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, data["label"]).mean()

        return optax.tree.norm(jax.grad(loss)(variables["params"])["dense00"]["kernel"])

    return [float(np.log10(norm(jax.random.key(seed)))) for seed in effort.seeds]
