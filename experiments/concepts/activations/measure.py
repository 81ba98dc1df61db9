"""Networks with each activation, trained and measured."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import Trained, accuracies, predict_replicas, train_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import mnist1d

ACTIVATIONS: dict[str, Callable] = {
    "identity": lambda x: x,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "gelu": nn.gelu,
}
GOOD, HIGH = 3e-3, 1e-1  # learning rates: a good one for Adam, and one that is far too high
BOTH_RATES = ("relu", "leaky_relu")
PROBE = 1000  # examples on which a unit must have a slope to count as alive
LINES, POINTS = 10, 2001  # lines between two examples, and points on each
WINDOW = 25  # steps of a mean in the chart


class Network(nn.Module):
    """MNIST-1D's three convolutions with another activation; or the outputs of the convolutions."""

    act: str
    features: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        maps = []
        for i, kernel in enumerate((5, 3, 3), start=1):
            x = nn.Conv(25, (kernel,), strides=2, padding=[(1, 1)], name=f"conv{i}")(x)
            maps.append(x)
            x = ACTIVATIONS[self.act](x)
        if self.features:
            return maps
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


def measure(effort: Effort) -> dict[str, Any]:
    train, test = mnist1d("train"), mnist1d("test")
    found: dict[str, Any] = {n: {} for n in ("right", "dead", "losses", "off", "bends", "line")}
    for name in ACTIVATIONS:
        rates = [GOOD, HIGH] if name in BOTH_RATES else [GOOD]
        model = Network(name)
        trained = _train(model, rates, train, effort)
        right = accuracies(predict_replicas(model, trained.variables, test["image"]), test["label"])
        dead, off = _dead(name, trained.variables, train["image"][:PROBE])
        seeds = len(effort.seeds)
        found["right"][name] = right.reshape(len(rates), seeds)
        found["dead"][name] = dead.reshape(len(rates), seeds)
        found["off"][name] = off.reshape(len(rates), seeds)
        losses = trained.losses[:seeds]
        found["losses"][name] = losses.reshape(seeds, -1, WINDOW).mean(-1)
        if name in ("identity", "relu", "gelu"):
            found["bends"][name], line = _along_lines(name, trained.variables, test, seeds)
            found["line"][name] = line
        if name == "identity":
            found["matrix"], found["largest"] = _against_a_matrix(trained, test["image"], seeds)
    return found


def _train(model: Network, rates: list[float], data, effort: Effort) -> Trained:
    return train_replicas(
        model,
        classification(10),
        optax.adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(500, 4000),
        batch_size=100,
        learning_rates=rates,
    )


def _of(variables: Any, run: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[run], variables)


def _dead(name: str, variables, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each run: the share of units whose slope is 0 for every example at every position, which
    get no gradient and never recover; and the share of slopes that are 0."""
    model = Network(name, features=True)
    slope = jax.vmap(jax.grad(lambda x: ACTIVATIONS[name](x).sum()))

    @jax.jit
    def flat(own):
        maps: Any = model.apply(own, images, train=False)
        zero = [abs(slope(x.reshape(-1)).reshape(x.shape)) <= 1e-6 for x in maps]
        dead = jnp.concatenate([each.all((0, 1)) for each in zero])  # bool [75]
        return dead.mean(), jnp.concatenate([each.ravel() for each in zero]).mean()

    runs = len(jax.tree.leaves(variables)[0])
    dead, off = zip(*(flat(_of(variables, run)) for run in range(runs)), strict=True)
    return np.array(dead), np.array(off)


def _along_lines(name: str, variables, data, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean number of bends on straight lines between two examples, [seeds]; and the first
    line's output for the class of its first example with the first seed, [POINTS]."""
    share = np.linspace(0, 1, POINTS, dtype=np.float32)[:, None, None]
    image = data["image"]
    lines = [a + share * (b - a) for a, b in zip(image[:LINES], image[LINES:], strict=False)]
    inner, whole = Network(name, features=True), Network(name)

    @jax.jit
    def signs(own, line):
        maps: Any = inner.apply(own, line, train=False)
        on = jnp.concatenate([(x > 0).reshape(len(line), -1) for x in maps], -1)
        return (on[1:] != on[:-1]).sum()

    bends = [np.mean([signs(_of(variables, run), line) for line in lines]) for run in range(seeds)]
    logits = np.asarray(whole.apply(_of(variables, 0), lines[0], train=False))
    # only where the slope changes with the sign is a change of sign a bend
    turns = np.array(bends) if name == "relu" else np.zeros(seeds)
    return turns, logits[:, data["label"][0]]


def _against_a_matrix(trained: Trained, images: np.ndarray, seeds: int):
    """For each seed: the largest difference to one matrix and one bias, as a share of the largest
    output; and that output."""
    model = Network("identity")
    parts = []
    for seed in range(seeds):
        own = _of(trained.variables, seed)
        apply = jax.jit(lambda x, own=own: model.apply(own, x, train=False))
        bias = apply(np.zeros_like(images[:1]))
        basis = np.eye(images.shape[1], dtype=np.float32)[..., None]
        matrix = apply(basis) - bias  # [40, 10]: what each number of the input adds
        logits = apply(images)
        most = abs(logits).max()
        parts.append((abs(images[..., 0] @ matrix + bias - logits).max() / most, most))
    return tuple(np.array(each, float) for each in zip(*parts, strict=True))
