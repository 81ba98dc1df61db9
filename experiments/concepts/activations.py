"""Activation functions: the accuracy that each allows, and how many units die.

python -m experiments.concepts.activations
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from experiments.concepts import command
from experiments.concepts.old import (
    Concept,
    Effort,
    Expectation,
    Findings,
    Text,
    above,
    adam,
    half_width,
    mnist1d,
    percent,
)

ACTIVATIONS: dict[str, Callable] = {
    "identity": lambda x: x,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "hard_swish": nn.hard_swish,
}
RATES = (3e-3, 1e-1)  # a good one for Adam, and one that is far too high
PROBE = 1000  # examples on which a unit must have a slope to count as alive


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


def measure(effort: Effort) -> Findings:
    train, test = mnist1d("train"), mnist1d("test")
    right, dead = {}, {}
    for name in ACTIVATIONS:
        model = Network(name)
        trained = train_replicas(
            model,
            classification(10),
            adam,
            train,
            seeds=effort.seeds,
            steps=effort.steps(500, 4000),
            batch_size=100,
            learning_rates=RATES,
        )
        logits = predict_replicas(model, trained.variables, test["image"])
        shares = accuracies(logits, test["label"]).reshape(len(RATES), -1)
        unused = _dead(name, trained.variables, train["image"][:PROBE]).reshape(len(RATES), -1)
        for i, rate in enumerate(RATES):
            right[name, rate], dead[name, rate] = shares[i], unused[i]
    return Findings(
        headings=[
            Text("activation", "激活函数"),
            *(Text(f"accuracy, rate {r:g}", f"准确率，学习率 {r:g}") for r in RATES),
            *(Text(f"dead units, rate {r:g}", f"死亡单元，学习率 {r:g}") for r in RATES),
        ],
        rows=[
            [
                name,
                *(percent(right[name, r]) for r in RATES),
                *(percent(dead[name, r]) for r in RATES),
            ]
            for name in ACTIVATIONS
        ],
        expectations=_expectations(right, dead),
        draw=lambda figure: _draw(figure, right, dead),
    )


def _dead(name: str, variables, images: np.ndarray) -> np.ndarray:
    """The fraction of units [runs] whose slope is 0 for every example at every position.

    Such a unit gets no gradient and never recovers.
    """
    model = Network(name, features=True)
    slope = jax.vmap(jax.grad(lambda x: ACTIVATIONS[name](x).sum()))

    @jax.jit
    def alive(own):
        maps: Any = model.apply(own, images, train=False)
        slopes = [slope(x.reshape(-1)).reshape(x.shape) for x in maps]
        return [(abs(s) > 1e-6).any((0, 1)) for s in slopes]  # bool [C] each

    shares = []
    for run in range(len(jax.tree.leaves(variables)[0])):
        own = jax.tree.map(lambda leaf, run=run: leaf[run], variables)
        shares.append(1 - np.concatenate(alive(own)).mean())
    return np.array(shares)


def _expectations(right, dead) -> list[Expectation]:
    good, high = RATES
    return [
        Expectation(
            Text(
                "Without an activation, three layers are one linear layer",
                "没有激活函数，三层等于一个线性层",
            ),
            "< 40 % (linear: 32)",
            percent(right["identity", good]),
            bool(right["identity", good].mean() < 0.4),
        ),
        Expectation(
            Text("ReLU learns faster than a sigmoid", "ReLU 比 Sigmoid 学得快"),
            f"> {percent(right['sigmoid', good])}",
            percent(right["relu", good]),
            above(right["relu", good], right["sigmoid", good]),
        ),
        Expectation(
            Text(
                "Too high a learning rate kills ReLUs: no example activates them again",
                "学习率过高会杀死 ReLU：再没有样本能激活它们",
            ),
            f"> {percent(dead['relu', good])}",
            percent(dead["relu", high]),
            above(dead["relu", high], dead["relu", good]),
        ),
        Expectation(
            Text("A slope below zero keeps them alive", "负半轴有斜率就不会死"),
            "0 %",
            percent(dead["leaky_relu", high]),
            bool(dead["leaky_relu", high].max() == 0),
        ),
    ]


def _draw(figure, right, dead) -> None:
    left, middle = figure.subplots(1, 2)
    place = np.arange(len(ACTIVATIONS))
    for axis, values, label in (
        (left, right, "test accuracy (%)"),
        (middle, dead, "dead units (%)"),
    ):
        for offset, rate in ((-0.2, RATES[0]), (0.2, RATES[1])):
            each = [100 * values[name, rate] for name in ACTIVATIONS]
            means, errors = [v.mean() for v in each], [half_width(v) for v in each]
            axis.bar(place + offset, means, 0.38, yerr=errors, label=f"rate {rate:g}", capsize=2)
        axis.set_xticks(place, list(ACTIVATIONS), rotation=45, ha="right")
        axis.set(ylabel=label, ylim=(0, 100))
    left.legend(fontsize=8)


CONCEPT = Concept(
    name="activations",
    title=Text("Activation functions", "激活函数"),
    question=Text(
        "Between the layers, each number passes through a function, the activation. Does it matter "
        "which one, and what is a dead unit?",
        "层与层之间有一个逐数作用的函数。选哪一个重要吗？什么是死亡单元？",
    ),
    answer=Text(
        "It matters that there is one, and that its slope does not go to zero on both sides. The "
        "modern ones differ little. A ReLU that is off for every example has no gradient and stays "
        "off; one large step can switch off many at once.",
        "重要的是要有，而且两侧的斜率不能都趋于零。现代的几种之间差别不大。"
        "对所有样本都关闭的 ReLU 没有梯度，从此一直关闭；一次过大的更新会让许多单元同时如此。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
