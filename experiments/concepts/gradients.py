"""Vanishing and exploding gradients: why initialisation, ReLU, batch norm and shortcuts matter.

python -m experiments.concepts.gradients
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import train_replicas
from experiments.concepts import command
from experiments.concepts.old import (
    Concept,
    Effort,
    Expectation,
    Findings,
    Text,
    adam,
    half_width,
    mean_and_interval,
    mnist1d,
)

WIDTH, DEPTH = 16, 24
# A factor of two in the variance is a factor of 2^(DEPTH / 2) in the gradient, here in decades. A
# gradient within half of that has rather kept its size than shrunk or grown by such a factor.
HALF_FACTOR = round(DEPTH / 2 * np.log10(2) / 2, 1)
SHALLOW, DEEP = 6, 30  # layers of the trained networks; He 2016's figure 1 has 20 and 56


class Chain(nn.Module):
    """`depth` convolutions of one width; with residual, a shortcut around every two.

    Attributes:
        variance: variance of the weights times their fan-in.
    """

    depth: int
    act: Callable = nn.relu
    variance: float = 2.0
    norm: bool = False
    residual: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        init = nn.initializers.variance_scaling(self.variance, "fan_in", "normal")
        conv = lambda x, i: nn.Conv(  # noqa: E731
            WIDTH, (3,), kernel_init=init, use_bias=not self.norm, name=f"conv{i:02}"
        )(x)
        x = shortcut = self.act(conv(x, 0))
        for i in range(1, self.depth):
            x = conv(x, i)
            if self.norm:
                x = nn.BatchNorm(use_running_average=not train, name=f"bn{i:02}")(x)
            if self.residual and i % 2 == 0:
                x = shortcut = shortcut + self.act(x)
            else:
                x = self.act(x)
        return nn.Dense(10, name="head")(x.mean(1))


CHAINS: dict[str, Any] = {
    "sigmoid, variance 1": {"act": nn.sigmoid, "variance": 1.0},
    "tanh, variance 1": {"act": nn.tanh, "variance": 1.0},
    "ReLU, variance 1": {"variance": 1.0},
    "ReLU, variance 2 (He)": {},
    "ReLU, variance 4": {"variance": 4.0},
    "ReLU, batch norm": {"norm": True},
    "ReLU, batch norm, residual": {"norm": True, "residual": True},
}
SIGMOID, TANH, SMALL, HE, LARGE, NORM, RESIDUAL = CHAINS


def measure(effort: Effort) -> Findings:
    data = mnist1d("train")
    norms = {
        name: np.stack([gradient(seed) for seed in effort.seeds])
        for name, gradient in (
            (name, _gradient_by_layer(Chain(DEPTH, **options), data))
            for name, options in CHAINS.items()
        )
    }  # [seeds, DEPTH]
    # not the first layer against the last: with ReLU all gradients shrink or grow alike
    sizes = {name: np.log10(norm[:, 0]) for name, norm in norms.items()}
    losses = {
        (residual, depth): _train(Chain(depth, norm=True, residual=residual), data, effort)
        for residual in (False, True)
        for depth in (SHALLOW, DEEP)
    }
    rows = [[name, mean_and_interval(size, digits=2), ""] for name, size in sizes.items()]
    for (residual, depth), loss in losses.items():
        name = f"{'residual' if residual else 'plain'}, {depth} layers, trained"
        rows.append([name, "", mean_and_interval(loss, digits=3)])
    return Findings(
        headings=[
            Text("network", "网络"),
            Text("log10 of the first layer's gradient", "首层梯度的 log10"),
            Text("training loss", "训练损失"),
        ],
        rows=rows,
        expectations=_expectations(sizes, losses),
        draw=lambda figure: _draw(figure, norms, losses),
    )


def _gradient_by_layer(model: nn.Module, data) -> Callable[[int], np.ndarray]:
    """seed -> the gradient norms of the kernels of a new network, from first to last."""
    image, label = data["image"][:64], data["label"][:64]

    @jax.jit
    def norms(key):
        variables = model.init(key, image[:1], train=False)

        def loss(params):
            logits, _ = model.apply(
                {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

        grads = jax.grad(loss)(variables["params"])
        return [optax.tree.norm(grads[f"conv{i:02}"]["kernel"]) for i in range(model.depth)]

    return lambda seed: np.asarray(norms(jax.random.key(seed)))


def _train(model: nn.Module, data, effort: Effort) -> np.ndarray:
    trained = train_replicas(
        model,
        classification(10),
        adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=64,
        learning_rates=[3e-3],
    )
    return trained.losses[:, -20:].mean(-1)


def _expectations(sizes, losses) -> list[Expectation]:
    def check(name: str, claim: Text, low: float, high: float) -> Expectation:
        expected = f"{low:g} .. {high:g}".replace("-inf ..", "<").replace(".. inf", "<")
        mean = sizes[name].mean()
        return Expectation(
            claim, expected, mean_and_interval(sizes[name], digits=2), bool(low < mean < high)
        )

    plain, residual = (
        [losses[kind, depth].mean() for depth in (SHALLOW, DEEP)] for kind in (False, True)
    )
    infinity = float("inf")
    return [
        check(SIGMOID, Text("Sigmoid: the gradient vanishes", "Sigmoid：梯度消失"), -infinity, -6),
        check(
            TANH,
            Text("tanh: far less, its slope at 0 is 1", "tanh：轻得多，它在 0 处的斜率是 1"),
            -4,
            1,
        ),
        check(
            SMALL,
            Text(
                "ReLU halves the signal's square: at variance 1, 24 layers take a factor of 2^12",
                "ReLU 使信号的平方减半：方差为 1 时，24 层缩小 2^12 倍",
            ),
            -infinity,
            -HALF_FACTOR,
        ),
        check(
            HE,
            Text("He's variance, 2, keeps it", "He 的方差 2 使它保持不变"),
            -HALF_FACTOR,
            HALF_FACTOR,
        ),
        check(
            LARGE,
            Text("At variance 4 it explodes by the same factor", "方差为 4 时以同样的倍数爆炸"),
            HALF_FACTOR,
            infinity,
        ),
        check(
            RESIDUAL,
            Text("With batch norm and shortcuts it is also kept", "有批归一化和捷径时也保持"),
            -HALF_FACTOR,
            HALF_FACTOR,
        ),
        Expectation(
            Text(
                "A deeper plain network trains worse (He 2016, figure 1)",
                "普通网络加深后训练得更差（He 2016，图 1）",
            ),
            f"> {plain[0]:.3f}",
            f"{plain[1]:.3f}",
            plain[1] > plain[0],
        ),
        Expectation(
            Text("At that depth a residual network trains better", "同样深度下残差网络训练得更好"),
            f"< {plain[1]:.3f}",
            f"{residual[1]:.3f}",
            residual[1] < plain[1],
        ),
    ]


def _draw(figure, norms, losses) -> None:
    left, right = figure.subplots(1, 2)
    for name, values in norms.items():
        left.semilogy(range(1, DEPTH + 1), values.mean(0), label=name)
    left.set(xlabel="layer", ylabel="norm of its gradient")
    left.legend(fontsize=7)
    for residual in (False, True):
        means = [losses[residual, depth].mean() for depth in (SHALLOW, DEEP)]
        errors = [half_width(losses[residual, depth]) for depth in (SHALLOW, DEEP)]
        label = "residual" if residual else "plain"
        right.errorbar((SHALLOW, DEEP), means, errors, fmt="o-", label=label, capsize=3)
    right.set(xlabel="layers", ylabel="training loss")
    right.legend()


CONCEPT = Concept(
    name="gradients",
    title=Text("Vanishing and exploding gradients", "梯度消失与梯度爆炸"),
    question=Text(
        "The gradient of an early layer is a product with one factor per later layer. If the "
        "factors are below one it vanishes; above one it explodes. What keeps them near one?",
        "靠前的层的梯度是其后每一层的因子之积。因子小于一就消失，大于一就爆炸。什么能让它们接近一？",
    ),
    answer=Text(
        "A sigmoid's slope is at most a quarter, so a few dozen layers are out of reach. The right "
        "variance of the initial weights, batch norm, and the residual connection, a sum in place "
        "of a product, each keep signals and gradients at a good size.",
        "Sigmoid 的斜率最多四分之一，几十层就无法训练。合适的初始方差、批归一化，"
        "以及用和代替积的残差连接，都能让信号和梯度保持合适的大小。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
