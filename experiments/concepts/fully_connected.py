"""Fully connected against convolutional: accuracy, size, cost, and what is memorised.

python -m experiments.concepts.fully_connected
"""

import time
from typing import NamedTuple

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
    digits,
    half_width,
    mnist1d,
    percent,
    subset,
)

SIZES = {"mnist1d": (100, 1000, 4000), "digits": (100, 400, 1400)}  # training examples
LOAD = {"mnist1d": mnist1d, "digits": digits}
BATCH, RATE = 50, 3e-3


class SmallCNN(nn.Module):
    """Two 3x3 convolutions of stride 2 and a dense layer, for 8x8 digits."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(16, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(32, (3, 3), strides=2, name="conv2")(x))  # [B, 4, 4, 32]
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


NETWORKS = {
    "mnist1d": {
        "fully connected": models.create("mnist1d_mlp", num_classes=10),
        "convolutional": models.create("mnist1d_cnn", num_classes=10),
    },
    "digits": {
        "fully connected": models.create("mlp", num_classes=10),
        "convolutional": SmallCNN(),
    },
}


class Outcome(NamedTuple):
    train: np.ndarray  # [seeds], accuracy
    test: np.ndarray
    seconds: float  # for all seeds, including compilation


def measure(effort: Effort) -> Findings:
    out = {
        (data, name, size): _train(data, model, size, effort)
        for data, networks in NETWORKS.items()
        for size in SIZES[data]
        for name, model in networks.items()
    }
    totals = {
        (data, name): summary.total(summary.summarise(model, LOAD[data]("test")["image"].shape[1:]))
        for data, networks in NETWORKS.items()
        for name, model in networks.items()
    }
    rows = [
        [
            f"{data}, {name}",
            str(size),
            percent(each.test),
            percent(each.train - each.test),
            f"{totals[data, name]['parameters']:,}",
            f"{totals[data, name]['multiply_adds']:,}",
            f"{each.seconds:.1f} s",
        ]
        for (data, name, size), each in out.items()
    ]
    expectations = []
    for data in NETWORKS:
        expectations += _expectations(data, out, totals)
    return Findings(
        headings=[
            Text("network", "网络"),
            Text("examples", "训练样本数"),
            Text("test accuracy", "测试准确率"),
            Text("train minus test", "训练与测试之差"),
            Text("parameters", "参数量"),
            Text("multiply-adds", "乘加次数"),
            Text("time", "时间"),
        ],
        rows=rows,
        expectations=expectations,
        draw=lambda figure: _draw(figure, out),
    )


def _train(data: str, model: nn.Module, size: int, effort: Effort) -> Outcome:
    train, test = subset(LOAD[data]("train"), size), LOAD[data]("test")
    began = time.monotonic()
    trained = train_replicas(
        model,
        classification(10),
        adam,
        train,
        seeds=effort.seeds,
        steps=effort.steps(800, 4000),
        batch_size=BATCH,
        learning_rates=[RATE],
    )
    seconds = time.monotonic() - began
    share_of_train, share_of_test = (
        accuracies(predict_replicas(model, trained.variables, part["image"]), part["label"])
        for part in (train, test)
    )
    return Outcome(share_of_train, share_of_test, seconds)


def _expectations(data, out, totals) -> list[Expectation]:
    largest = SIZES[data][-1]
    dense, conv = (out[data, name, largest] for name in NETWORKS[data])
    parameters = [totals[data, name]["parameters"] for name in NETWORKS[data]]
    gaps = [each.train - each.test for each in (dense, conv)]
    few = [out[data, name, SIZES[data][0]] for name in NETWORKS[data]]
    return [
        Expectation(
            Text(
                f"{data}: the convolutional network is better on unseen examples",
                f"{data}：卷积网络在没见过的样本上更好",
            ),
            "> 0",
            f"{100 * (conv.test.mean() - dense.test.mean()):+.1f}",
            above(conv.test, dense.test),
        ),
        Expectation(
            Text(f"{data}: it has fewer parameters", f"{data}：而且参数更少"),
            f"< {parameters[0]:,}",
            f"{parameters[1]:,}",
            parameters[1] < parameters[0],
        ),
        Expectation(
            Text(f"{data}: it overfits less", f"{data}：过拟合更轻"),
            f"< {percent(gaps[0])}",
            percent(gaps[1]),
            above(gaps[0], gaps[1]),
        ),
        Expectation(
            Text(
                f"{data}: with fewer examples both overfit more",
                f"{data}：样本越少，两者的过拟合越重",
            ),
            " > ".join(str(size) for size in ("gap with few", "gap with many")),
            ", ".join(
                f"{100 * (a.train - a.test).mean():.1f} > {100 * gap.mean():.1f}"
                for a, gap in zip(few, gaps, strict=True)
            ),
            all(above(a.train - a.test, gap) for a, gap in zip(few, gaps, strict=True)),
        ),
    ]


def _draw(figure, out) -> None:
    for axis, data in zip(figure.subplots(1, 2), NETWORKS, strict=True):
        for name, colour in zip(NETWORKS[data], ("tab:orange", "tab:blue"), strict=True):
            for part, style in (("train", ":"), ("test", "-")):
                values = [100 * getattr(out[data, name, size], part) for size in SIZES[data]]
                axis.errorbar(
                    SIZES[data],
                    [v.mean() for v in values],
                    [half_width(v) for v in values],
                    linestyle=style,
                    color=colour,
                    label=f"{name}, {part}",
                    capsize=3,
                )
        axis.set(xscale="log", xlabel="training examples", ylabel="accuracy (%)", title=data)
        axis.legend(fontsize=8)


CONCEPT = Concept(
    name="fully_connected",
    title=Text("Fully connected, or convolutional", "全连接与卷积"),
    question=Text(
        "A fully connected layer has a weight for every pair of an input and an output. Can it not "
        "learn whatever a convolution does? It can; but with many weights and few examples it "
        "memorises the examples. The gap between training and test accuracy shows it.",
        "全连接层为每一对输入和输出都设一个权重，卷积能做的它难道学不会吗？能学会；"
        "但权重多、样本少时，它会把样本死记硬背下来。训练与测试准确率之差说明了这一点。",
    ),
    answer=Text(
        "A convolution cannot compute most of what a fully connected layer can. So it needs no "
        "examples to rule that out, and learns more from the same data. It has few weights, but "
        "uses each of them at every position: the arithmetic per weight is more, not less.",
        "全连接层能算的东西，大多是卷积算不出来的。因此卷积不需要用样本去排除它们，"
        "从同样的数据里能学到更多。它的权重少，但每个权重在每个位置都要用到，"
        "所以每个权重对应的计算更多，而不是更少。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
