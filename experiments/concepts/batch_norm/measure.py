"""Networks with each normalisation, trained and measured."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import Trained, predict_replicas, train_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import mnist1d

NORMS = ("none", "batch", "group", "layer")
RATES = (0.01, 0.1, 1.0, 10.0)  # learning rates of plain SGD
DIVERGED = 10.0  # what a loss that is larger, or is not a number, is counted as
BATCHES = (2, 8, 32, 128)
SCALE = 10.0  # by which all weights of the convolutions are multiplied


class Network(nn.Module):
    """Four convolutions of stride 1 or 2, each followed by a normalisation and ReLU."""

    norm: str
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        for i, stride in enumerate((1, 2, 2, 2), start=1):
            x = nn.Conv(16, (5,), strides=stride, name=f"conv{i}")(x)
            if self.norm == "batch":
                norm = nn.BatchNorm(not train, momentum=0.9, axis_name=self.axis_name, name=f"n{i}")
                x = norm(x)
            elif self.norm == "group":
                x = nn.GroupNorm(4, name=f"n{i}")(x)
            elif self.norm == "layer":
                x = nn.LayerNorm(name=f"n{i}")(x)
            x = nn.relu(x)
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


def measure(effort: Effort) -> dict[str, Any]:
    data = mnist1d("train")
    losses, norms = {}, {}
    for norm in NORMS:
        trained = _train(norm, data, effort, 64, RATES)
        # a loss that is not finite has learned nothing either
        last = np.nan_to_num(trained.losses[:, -20:].mean(-1), nan=DIVERGED, posinf=DIVERGED)
        losses[norm] = np.minimum(last, DIVERGED).reshape(len(RATES), -1)
        early = np.median(np.nan_to_num(trained.grad_norms[:, :20], posinf=np.nan), -1)
        norms[norm] = early.reshape(len(RATES), -1)
    gaps, noise = {}, {}
    for size in BATCHES:
        trained = _train("batch", data, effort, size, [0.03])
        gaps[str(size)] = _discrepancy(size, trained, data)
        noise[str(size)] = _noise(size, trained, data)
    change, slope, plain = _scaled(data, effort)
    return {
        "losses": losses,  # [rates, seeds]
        "gradients": norms,  # [rates, seeds], of the first steps
        "gaps": gaps,
        "noise": noise,
        "change": change,
        "slope": slope,
        "plain": plain,
        "synced": _distance(data, synced=True),
        "local": _distance(data, synced=False),
        "means": _noise_of_parts(data),
    }


def _train(norm: str, data, effort: Effort, batch_size: int, rates) -> Trained:
    return train_replicas(
        Network(norm),
        classification(10),
        optax.sgd,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=batch_size,
        learning_rates=rates,
    )


def _own(trained: Trained) -> list[Any]:
    runs = len(trained.losses)
    return [jax.tree.map(lambda leaf, r=run: leaf[r], trained.variables) for run in range(runs)]


def _discrepancy(size: int, trained: Trained, data) -> np.ndarray:
    """|loss in training mode - loss in evaluation mode| of trained networks, same examples."""
    model = Network("batch")
    image, label = data["image"][:1024], data["label"][:1024]

    @jax.jit
    def in_training(variables):
        batches = image.reshape(-1, size, *image.shape[1:])
        apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        return jax.lax.map(lambda x: apply(variables, x)[0], batches).reshape(len(image), 10)

    gaps = []
    evaluated = predict_replicas(model, trained.variables, image)
    for own, logits in zip(_own(trained), evaluated, strict=True):
        pair = (in_training(own), logits)
        losses = [optax.softmax_cross_entropy_with_integer_labels(x, label).mean() for x in pair]
        gaps.append(abs(float(losses[0] - losses[1])))
    return np.array(gaps)


def _noise(size: int, trained: Trained, data) -> np.ndarray:
    """How far the mean of a batch is from that of all, in deviations of the channel, [runs]."""
    image = data["image"][:1024]
    return np.array([_spread_of_means(own, image, size) for own in _own(trained)])


def _noise_of_parts(data) -> float:
    """The same for the 4 examples of each of 8 devices, in a new network."""
    image = data["image"][:32]
    variables = Network("batch").init(jax.random.key(0), image, train=False)
    return _spread_of_means(variables, image, 4)


def _spread_of_means(variables, image: np.ndarray, size: int) -> float:
    kernel = variables["params"]["conv1"]
    sums = np.asarray(nn.Conv(16, (5,)).apply({"params": kernel}, image))
    means = sums.reshape(-1, size * sums.shape[1], sums.shape[2]).mean(1)  # [batches, C]
    return float((means.std(0) / np.maximum(sums.std((0, 1)), 1e-9)).mean())


def _scaled(data, effort: Effort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of new networks whose convolutions' weights are multiplied by SCALE: the change of outputs
    and the ratio of gradients with batch norm, and the change without; [seeds] each."""
    image, label = data["image"][:64], data["label"][:64]
    found = []
    for seed in effort.seeds:
        row = []
        for norm in ("batch", "none"):
            model = Network(norm)
            variables = model.init(jax.random.key(seed), image[:1], train=False)
            larger = {
                name: {
                    k: leaf * SCALE if name.startswith("conv") and k == "kernel" else leaf
                    for k, leaf in layer.items()
                }
                for name, layer in variables["params"].items()
            }

            def outputs(params, model=model, variables=variables):
                state = {**variables, "params": params}
                return model.apply(state, image, train=True, mutable=["batch_stats"])[0]

            def loss(params, outputs=outputs):
                logits = outputs(params)
                return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

            before, after = outputs(variables["params"]), outputs(larger)
            row.append(float(abs(after - before).max() / abs(before).max()))
            if norm == "batch":
                sizes = [
                    optax.tree.norm({n: g["kernel"] for n, g in jax.grad(loss)(p).items()
                                     if n.startswith("conv")})
                    for p in (variables["params"], larger)
                ]  # fmt: skip
                row.append(float(sizes[1] / sizes[0]))
        found.append(row)
    change, slope, plain = np.array(found).T
    return change, slope, plain


def _distance(data, *, synced: bool) -> float:
    """The difference between 8 devices with 4 examples each and one device with all 32."""
    image = jnp.asarray(data["image"][:32])
    whole, part = Network("batch"), Network("batch", axis_name="devices" if synced else None)
    variables = whole.init(jax.random.key(0), image, train=False)
    run = functools.partial(whole.apply, variables, train=True, mutable=["batch_stats"])
    each = functools.partial(part.apply, variables, train=True, mutable=["batch_stats"])
    expected = run(image)[0]
    shards = image.reshape(8, 4, *image.shape[1:])
    got = jax.vmap(lambda x: each(x)[0], axis_name="devices")(shards).reshape(expected.shape)
    return float(jnp.abs(got - expected).max())
