"""Vanishing and exploding gradients: what one layer does, many layers do to a power.

python -m experiments.concepts.gradients
"""

from typing import Any

import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import train_replicas
from experiments.concepts import command
from experiments.concepts.data import mnist1d
from experiments.concepts.deep_chains import Chain, inside
from experiments.concepts.gradients_text import EXPLAIN, GUESS, TITLE, WHY_NOT
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Concept,
    Effort,
    Findings,
    Outcome,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.spread import spread

BLOCKS = 12
FACTORS = 2 * BLOCKS  # layers between the first and the last
# A factor of two in the variance is a factor of 2^(FACTORS / 2) in the gradient, here in decades. A
# gradient within half of that has rather kept its size than shrunk or grown by such a factor.
HALF_FACTOR = round(FACTORS / 2 * np.log10(2) / 2, 1)
GUESSING = np.log(10)  # loss of one who gives ten classes a tenth each

CHAINS: dict[str, dict[str, Any]] = {
    "sigmoid": {"act": "sigmoid", "variance": 1.0},
    "tanh": {"act": "tanh", "variance": 1.0},
    "small": {"variance": 1.0},
    "he": {},
    "large": {"variance": 4.0},
}
PREDICTED = {"small": 0.5**0.5, "he": 1.0, "large": 2**0.5}  # factors a layer
TRAINED = ("sigmoid", "he")
LARGEST_ERROR = 0.15  # of a predicted factor
LEARNT = 2.0  # a loss below this has learnt something
WIDE = 64  # channels of the networks that explain a factor beside the predicted one

NAMES: dict[str, Words] = {
    "sigmoid": Text("sigmoid, variance 1", "Sigmoid，方差 1"),
    "tanh": Text("tanh, variance 1", "tanh，方差 1"),
    "small": Text("ReLU, variance 1", "ReLU，方差 1"),
    "he": Text("ReLU, variance 2 (He)", "ReLU，方差 2（He 初始化）"),
    "large": Text("ReLU, variance 4", "ReLU，方差 4"),
}

CLAIMS = [
    Claim("sigmoid", Text(
        "Sigmoid: the gradient of the first layer vanishes (its log10)",
        "Sigmoid：第一层的梯度消失（梯度的 log10）",
    ), "< -6"),
    Claim("tanh", Text(
        "tanh: it shrinks far less, since the slope at 0 is 1 (log10)",
        "tanh：缩小得少得多，因为它在 0 处的斜率是 1（log10）",
    ), "-4 … 1"),
    Claim("small", Text(
        f"ReLU halves the signal's square: at variance 1, {FACTORS} layers shrink it by "
        f"2^{FACTORS // 2} (log10)",
        f"ReLU 使信号的平方减半：方差为 1 时，{FACTORS} 层共缩小 2^{FACTORS // 2} 倍（log10）",
    ), f"< -{HALF_FACTOR}"),
    Claim("he", Text(
        "He's variance, 2, keeps its size (log10)", "He 的方差 2 使它大小不变（log10）"
    ),
          f"-{HALF_FACTOR} … {HALF_FACTOR}"),
    Claim("large", Text(
        "At variance 4 it explodes by the same factor (log10)",
        "方差为 4 时，它以同样的倍数爆炸（log10）",
    ), f"> {HALF_FACTOR}"),
    Claim("quarter", Text(
        "A sigmoid layer multiplies the gradient by less than its largest slope",
        "每经过一个 Sigmoid 层，梯度所乘的因子小于它的最大斜率",
    ), "< 0.25"),
    Claim("predicted", Text(
        "The factor of a ReLU layer is √(variance / 2): the largest error for variances 1, 2 and 4",
        "ReLU 层的因子是 √(方差 / 2)：方差取 1、2、4 时的最大误差",
    ), "< 15 %"),
    Claim("stuck", Text(
        f"Where no gradient arrives nothing is learnt: with sigmoids, {FACTORS + 1} layers go on "
        "guessing (loss 2.30)",
        f"梯度传不到的地方什么也学不到：{FACTORS + 1} 层的 Sigmoid 网络一直在乱猜（损失 2.30）",
    ), "> 2.25"),
    Claim("learns", Text(
        "With ReLU and He's variance a network of the same depth learns (loss)",
        "同样深的网络，用 ReLU 和 He 的方差就能学会（损失）",
    ), "< 2"),
]  # fmt: skip


def measure(effort: Effort) -> dict[str, Any]:
    data = mnist1d("train")
    chains = {
        name: inside(Chain(BLOCKS, **options), data, effort.seeds)
        for name, options in CHAINS.items()
    }
    factor = {name: _factor(each) for name, each in chains.items()}
    losses = {name: _train(Chain(BLOCKS, **CHAINS[name]), data, effort) for name in TRAINED}
    found: dict[str, Any] = {
        "signal": {name: each["signal"] for name, each in chains.items()},
        "gradient": {name: each["gradient"] for name, each in chains.items()},
        "first": {name: each["first"] for name, each in chains.items()},
        "factor": factor,
        "loss": losses,
    }
    # what explains a claim that did not hold is measured only then
    if max(_errors(factor).values()) >= LARGEST_ERROR:
        found["wide"] = {
            name: _factor(inside(Chain(BLOCKS, width=WIDE, **CHAINS[name]), data, effort.seeds))
            for name in PREDICTED
        }
    if np.mean(losses["he"]) >= LEARNT:
        found["shallow"] = _train(Chain(3), data, effort)
    return found


def _factor(found: dict[str, np.ndarray]) -> np.ndarray:
    """The mean factor a layer between the last and the first, [seeds]."""
    gradient = found["gradient"]
    return (gradient[:, 0] / gradient[:, -1]) ** (1 / (gradient.shape[1] - 1))


def _train(model: Chain, data, effort: Effort) -> np.ndarray:
    trained = train_replicas(
        model,
        classification(10),
        optax.adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=32,
        learning_rates=[3e-3],
    )
    return trained.losses[:, -20:].mean(-1)


def read(values) -> Findings:
    sizes = {name: np.log10(values["first"][name]) for name in CHAINS}
    factor, loss = values["factor"], values["loss"]
    errors = _errors(factor)
    outcomes = {
        name: _within(sizes[name], low, high, WHY_NOT[name](values))
        for name, low, high in (
            ("sigmoid", -np.inf, -6),
            ("tanh", -4, 1),
            ("small", -np.inf, -HALF_FACTOR),
            ("he", -HALF_FACTOR, HALF_FACTOR),
            ("large", HALF_FACTOR, np.inf),
        )
    }
    outcomes["quarter"] = _within(factor["sigmoid"], 0, 0.25, WHY_NOT["quarter"](values))
    outcomes["predicted"] = Outcome(
        f"{100 * max(errors.values()):.0f} %",
        max(errors.values()) < LARGEST_ERROR,
        {NAMES[name]: factor[name] for name in PREDICTED},
        why_not=WHY_NOT["predicted"](_errors(values["wide"]), WIDE) if "wide" in values else None,
    )
    outcomes["stuck"] = _within(loss["sigmoid"], 2.25, np.inf, WHY_NOT["stuck"](values))
    outcomes["learns"] = _within(
        loss["he"], -np.inf, LEARNT, WHY_NOT["learns"](values) if "shallow" in values else None
    )
    rows = [
        [
            NAMES[name],
            f"{PREDICTED[name]:.2f}" if name in PREDICTED else "",
            spread(factor[name], digits=2),
            spread(sizes[name], digits=1),
            spread(loss[name], digits=2) if name in loss else "",
        ]
        for name in CHAINS
    ]
    table = Table(
        [
            Text("network", "网络"),
            Text("factor a layer, predicted", "每层因子（预测）"),
            Text("measured", "每层因子（测量）"),
            Text("log10 of the first layer's gradient", "第一层梯度的 log10"),
            Text("loss after training", "训练后的损失"),
        ],
        rows,
        Text(f"{FACTORS + 1} layers of 16 channels", f"{FACTORS + 1} 层，每层 16 个通道"),
    )
    return Findings([table], _charts(values), outcomes, _reading(values, outcomes))


def _errors(factor) -> dict[str, float]:
    return {name: abs(np.mean(factor[name]) / p - 1) for name, p in PREDICTED.items()}


def _within(values, low: float, high: float, why_not: Text | None) -> Outcome:
    holds = bool(low < np.mean(values) < high)
    return Outcome(spread(values, digits=2), holds, {"": list(values)}, why_not=why_not)


def _charts(values) -> list[Chart]:
    layers = list(range(2, FACTORS + 2))

    def chart(which: str, title: Text, y: Text) -> Chart:
        lines = [
            Series(NAMES[name], layers, np.transpose(values[which][name]).tolist())
            for name in CHAINS
        ]
        return Chart(title, Text("layer", "层"), y, lines, kind="curve", y_scale="log")

    return [
        chart(
            "signal",
            Text("Forwards: the size of the signal", "前向：信号的大小"),
            Text("root mean square of the outputs", "输出的均方根"),
        ),
        chart(
            "gradient",
            Text("Backwards: the size of the gradient", "反向：梯度的大小"),
            Text("root mean square of the gradients", "梯度的均方根"),
        ),
    ]


def _reading(values, outcomes) -> list[Text]:
    factor = {name: float(np.mean(values["factor"][name])) for name in CHAINS}
    shrunk = factor["sigmoid"] ** FACTORS
    return [
        Text(
            "In a chart with a logarithmic scale a constant factor a layer is a straight line. "
            f"The sigmoid's factor is {factor['sigmoid']:.2f}, and {factor['sigmoid']:.2f} to the "
            f"power of {FACTORS} is {shrunk:.0e}.",
            "纵轴取对数时，每层乘以同一个因子就是一条直线。"
            f"Sigmoid 的因子是 {factor['sigmoid']:.2f}，它的 {FACTORS} 次方是 {shrunk:.0e}。",
        ),
        chosen(
            outcomes["stuck"].holds and outcomes["learns"].holds,
            Text(
                "The two deep networks that differ in activation and variance alone end at losses "
                f"of {spread(values['loss']['sigmoid'], digits=2)} and "
                f"{spread(values['loss']['he'], digits=2)}: one could not be trained, the other "
                "could.",
                "两个同样深的网络只在激活函数和初始方差上不同，最终损失分别为 "
                f"{spread(values['loss']['sigmoid'], digits=2)} 和 "
                f"{spread(values['loss']['he'], digits=2)}：一个训练不动，另一个可以。",
            ),
            Text(
                "What the deep networks learnt is not what was expected: the losses are in the "
                "table, and the reasons below.",
                "深层网络学到的与预期不同：损失见表，原因见下。",
            ),
        ),
    ]


CONCEPT = Concept(
    name="gradients",
    title=TITLE,
    explain=EXPLAIN,
    guess=GUESS,
    claims=CLAIMS,
    measure=measure,
    read=read,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
