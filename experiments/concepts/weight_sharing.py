"""Local connectivity and weight sharing, separately, with positions in order and shuffled.

python -m experiments.concepts.weight_sharing
"""

import flax.linen as nn
import numpy as np

from cnn_jax import models
from cnn_jax.analysis import summary
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

# Greydanus 2020, arXiv:2011.14439, table 1: accuracy in percent, in order and shuffled.
PUBLISHED = {
    "linear": (32, 32),
    "fully connected": (68, 68),
    "convolutional": (94, 56),
    "recurrent": (91, 57),
}
# The table has one run of each; its authors' notebook prints 92.3 for the convolution and 64.6 for
# the fully connected network (github.com/greydanus/mnist1d, notebooks/quickstart.ipynb).
TOLERANCE = 3  # points, for other initial values and orders of the examples
BATCH, RATE = 100, 1e-2  # the authors' train.py


class Local(nn.Module):
    """MNIST-1D's CNN with separate weights at every position: local, but nothing is shared."""

    channels: int = 25

    @nn.compact
    def __call__(self, x, *, train):
        for i, kernel in enumerate((5, 3, 3), start=1):
            x = nn.ConvLocal(
                self.channels, (kernel,), strides=2, padding=[(1, 1)], name=f"conv{i}"
            )(x)
            x = nn.relu(x)
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


NETWORKS = {
    "linear": models.create("mnist1d_linear", num_classes=10),
    "fully connected": models.create("mnist1d_mlp", num_classes=10),
    "local": Local(),
    "convolutional": models.create("mnist1d_cnn", num_classes=10),
    "recurrent": models.create("gru", num_classes=10),
}
CHINESE = {
    "linear": "线性",
    "fully connected": "全连接",
    "local": "局部连接",
    "convolutional": "卷积",
    "recurrent": "循环",
}


def measure(effort: Effort) -> Findings:
    right: dict[tuple[str, bool], np.ndarray] = {}
    for name, model in NETWORKS.items():
        for shuffled in (False, True):
            trained = train_replicas(
                model,
                classification(10),
                adam,
                mnist1d("train", shuffled=shuffled),
                seeds=effort.seeds,
                steps=effort.steps(1500, 6000),
                batch_size=BATCH,
                learning_rates=[RATE],
            )
            test = mnist1d("test", shuffled=shuffled)
            logits = predict_replicas(model, trained.variables, test["image"])
            right[name, shuffled] = accuracies(logits, test["label"])
    return Findings(
        headings=[
            Text("network", "网络"),
            Text("parameters", "参数量"),
            Text("in order", "顺序正常"),
            Text("shuffled", "位置打乱"),
            Text("published", "论文值"),
        ],
        rows=[_row(name, right) for name in NETWORKS],
        expectations=[*_published(right), *_taken_apart(right)],
        draw=lambda figure: _draw(figure, right),
    )


def _row(name, right) -> list[str]:
    parameters = summary.total(summary.summarise(NETWORKS[name], (40, 1)))["parameters"]
    published = "{} / {} %".format(*PUBLISHED[name]) if name in PUBLISHED else ""
    return [name, f"{parameters:,}", *(percent(right[name, s]) for s in (False, True)), published]


def _published(right) -> list[Expectation]:
    return [
        Expectation(
            Text(
                f"{name}, {'shuffled' if shuffled else 'in order'}: as published",
                f"{CHINESE[name]}，{'打乱' if shuffled else '正常顺序'}：与论文一致",
            ),
            f"{figures[shuffled]} ± {TOLERANCE} %",
            percent(right[name, shuffled]),
            abs(100 * right[name, shuffled].mean() - figures[shuffled]) <= TOLERANCE,
        )
        for name, figures in PUBLISHED.items()
        for shuffled in (False, True)
    ]


def _taken_apart(right) -> list[Expectation]:
    def step(better: str, worse: str, shuffled: bool) -> tuple[str, bool]:
        a, b = right[better, shuffled], right[worse, shuffled]
        return f"{100 * (a.mean() - b.mean()):+.1f}", above(a, b)

    local, sharing = step("local", "fully connected", False), step("convolutional", "local", False)
    shuffled = step("fully connected", "convolutional", True)
    return [
        Expectation(
            Text("Looking at neighbours only is an advantage", "只看邻近位置就有优势"),
            "> 0",
            *local,
        ),
        Expectation(
            Text("Sharing weights over all positions adds to it", "在所有位置共享权重进一步提高"),
            "> 0",
            *sharing,
        ),
        Expectation(
            Text(
                "Without neighbours that belong together, the convolution is worse",
                "邻近关系被打乱后，卷积反而更差",
            ),
            "> 0",
            *shuffled,
        ),
    ]


def _draw(figure, right) -> None:
    axis = figure.subplots()
    place = np.arange(len(NETWORKS))
    for offset, shuffled, label in ((-0.2, False, "in order"), (0.2, True, "shuffled")):
        values = [100 * right[name, shuffled] for name in NETWORKS]
        means, errors = [v.mean() for v in values], [half_width(v) for v in values]
        axis.bar(place + offset, means, 0.38, yerr=errors, label=label, capsize=3)
    axis.set_xticks(place, list(NETWORKS))
    axis.set(ylabel="test accuracy (%)", ylim=(0, 100))
    axis.legend()


CONCEPT = Concept(
    name="weight_sharing",
    title=Text("Local connectivity, and weight sharing", "局部连接与权重共享"),
    question=Text(
        "A convolution differs from a fully connected layer in two ways: a unit sees only a few "
        "neighbours, and all positions use the same weights. Which of the two helps? And if the 40 "
        "positions are permuted, the same way in every example, a fully connected network cannot "
        "tell the difference: can a convolution?",
        "卷积层与全连接层有两点不同：每个单元只看几个邻近位置，而且所有位置使用同一组权重。"
        "哪一点更有用？如果把 40 个位置以同样的方式打乱，全连接网络察觉不到区别，卷积网络呢？",
    ),
    answer=Text(
        "A convolution assumes two things that are true of the data: neighbours belong together, "
        "and what occurs at one position can occur at another. Shuffling removes the first, and "
        "the same network loses what made it better.",
        "卷积对数据的假设是对的：邻近的点彼此相关，一处出现的形状也会出现在别处。"
        "打乱顺序之后这些假设不再成立，同一个网络便失去了优势。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
