"""Batch norm: the learning rates it allows, the cost of small batches, and synchronisation.

python -m experiments.concepts.batch_norm
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import predict_replicas, train_replicas
from experiments.concepts import command
from experiments.concepts.old import (
    Concept,
    Effort,
    Expectation,
    Findings,
    Text,
    half_width,
    mean_and_interval,
    mnist1d,
)

NORMS = ("none", "batch", "group", "layer")
RATES = (0.01, 0.1, 1.0, 10.0)  # learning rates of plain SGD
GOOD = 1.9  # a training loss below this has learned something; guessing gives log(10) = 2.30
BATCHES = (2, 8, 32, 128)


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


def measure(effort: Effort) -> Findings:
    data = mnist1d("train")
    steps = effort.steps(250, 2000)
    losses = {norm: _final_losses(norm, data, steps, effort) for norm in NORMS}  # [rates, seeds]
    gaps = {size: _discrepancy(size, data, effort) for size in BATCHES}  # [seeds]
    local, synced = (_distance(data, synced=synced) for synced in (False, True))
    rows = [[norm, *(mean_and_interval(each, digits=2) for each in losses[norm])] for norm in NORMS]
    return Findings(
        headings=[
            Text("normalisation", "归一化"),
            *(Text(f"loss at rate {r:g}", f"学习率 {r:g} 时的损失") for r in RATES),
        ],
        rows=rows,
        expectations=_expectations(losses, gaps, local, synced),
        draw=lambda figure: _draw(figure, losses, gaps),
    )


def _final_losses(norm: str, data, steps: int, effort: Effort) -> np.ndarray:
    trained = train_replicas(
        Network(norm),
        classification(10),
        optax.sgd,
        data,
        seeds=effort.seeds,
        steps=steps,
        batch_size=64,
        learning_rates=RATES,
    )
    # a loss that is not finite has learned nothing either
    losses = np.nan_to_num(trained.losses[:, -20:].mean(-1), nan=10.0, posinf=10.0)
    return np.minimum(losses, 10.0).reshape(len(RATES), len(effort.seeds))


def _discrepancy(size: int, data, effort: Effort) -> np.ndarray:
    """|loss in training mode - loss in evaluation mode| of trained networks, same examples."""
    model = Network("batch")
    trained = train_replicas(
        model,
        classification(10),
        optax.sgd,
        data,
        seeds=effort.seeds,
        steps=effort.steps(250, 2000),
        batch_size=size,
        learning_rates=[0.03],
    )
    image, label = data["image"][:1024], data["label"][:1024]

    @jax.jit
    def in_training(variables):
        batches = image.reshape(-1, size, *image.shape[1:])
        apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
        return jax.lax.map(lambda x: apply(variables, x)[0], batches).reshape(len(image), 10)

    gaps = []
    evaluated = predict_replicas(model, trained.variables, image)
    for run, logits in enumerate(evaluated):
        own = jax.tree.map(lambda leaf, run=run: leaf[run], trained.variables)
        pair = (in_training(own), logits)
        losses = [optax.softmax_cross_entropy_with_integer_labels(x, label).mean() for x in pair]
        gaps.append(abs(float(losses[0] - losses[1])))
    return np.array(gaps)


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


def _expectations(losses, gaps, local, synced) -> list[Expectation]:
    works = {norm: [r for r, x in zip(RATES, losses[norm], strict=True) if x.mean() < GOOD]
             for norm in NORMS}  # fmt: skip
    highest = {norm: max(rates, default=0.0) for norm, rates in works.items()}
    return [
        Expectation(
            Text(
                "Batch norm learns at higher rates than no normalisation does",
                "有批归一化时可用更高的学习率",
            ),
            f"> {highest['none']:g}",
            f"{highest['batch']:g}",
            highest["batch"] > highest["none"],
        ),
        Expectation(
            Text("and at more of them", "而且可用的学习率更多"),
            f"> {len(works['none'])} of {len(RATES)}",
            f"{len(works['batch'])} of {len(RATES)}",
            len(works["batch"]) > len(works["none"]),
        ),
        Expectation(
            Text(
                "Trained with small batches, the network is another function in evaluation",
                "用小批量训练时，评估时变成另一个函数",
            ),
            f"batch {BATCHES[0]} > batch {BATCHES[-1]}",
            f"{mean_and_interval(gaps[BATCHES[0]], digits=2)} > "
            f"{mean_and_interval(gaps[BATCHES[-1]], digits=2)}",
            bool(gaps[BATCHES[0]].mean() > gaps[BATCHES[-1]].mean()),
        ),
        Expectation(
            Text(
                "Synced over 8 devices, it computes what one device computes",
                "在 8 个设备间同步后，与单设备结果相同",
            ),
            "< 0.0001",
            f"{synced:.1e}",
            synced < 1e-4,
        ),
        Expectation(
            Text("and not synced, it does not", "不同步则不同"),
            "> 0.01",
            f"{local:.2f}",
            local > 0.01,
        ),
    ]


def _draw(figure, losses, gaps) -> None:
    left, right = figure.subplots(1, 2)
    for norm in NORMS:
        errors = [half_width(each) for each in losses[norm]]
        means = [each.mean() for each in losses[norm]]
        left.errorbar(RATES, means, errors, fmt="o-", label=norm, capsize=3)
    left.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 4))
    left.legend()
    means, errors = [gaps[b].mean() for b in BATCHES], [half_width(gaps[b]) for b in BATCHES]
    right.errorbar(BATCHES, means, errors, fmt="o-", capsize=3)
    right.set(xscale="log", xlabel="batch size", ylabel="|train mode - eval mode| loss")


CONCEPT = Concept(
    name="batch_norm",
    title=Text("Batch normalisation", "批归一化"),
    question=Text(
        "Batch norm gives every channel mean 0 and standard deviation 1 over the batch. What is "
        "gained, and what does it cost that an example depends on the others in its batch?",
        "批归一化让每个通道在一个批次内均值为 0、标准差为 1。它带来什么？"
        "样本依赖于同批样本又有什么代价？",
    ),
    answer=Text(
        "Whatever the size of the weights, the next layer sees a signal of size one, so much "
        "larger steps do no harm. The price: the mean of a few examples is mostly noise, and in "
        "evaluation, where an example may come alone, averages kept from training replace it. "
        "Group and layer norm use one example only and do not have this problem. On several "
        "devices the batch is in pieces: synced, the statistics are those of the whole batch.",
        "无论权重多大，下一层看到的信号大小都是一，所以步长大得多也无妨。代价是：少数样本的统计量"
        "大半是噪声，而评估时样本可能单独出现，只能换成训练时累积的平均。组归一化和层归一化"
        "只看一个样本，没有这个问题。在多个设备上一个批次被分成几份：同步之后，"
        "统计量就是整个批次的。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
