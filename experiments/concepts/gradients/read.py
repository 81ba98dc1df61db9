"""What the numbers say."""

import numpy as np

from experiments.concepts.frame.lesson import (
    Chart,
    Findings,
    Outcome,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.frame.spread import spread
from experiments.concepts.gradients.claims import HALF_FACTOR
from experiments.concepts.gradients.measure import (
    CHAINS,
    FACTORS,
    LARGEST_ERROR,
    LEARNT,
    PREDICTED,
    WIDE,
    errors,
)
from experiments.concepts.gradients.why_not import WHY_NOT

GUESSING = np.log(10)  # loss of one who gives ten classes a tenth each

NAMES: dict[str, Words] = {
    "sigmoid": Text("sigmoid, variance 1", "Sigmoid，方差 1"),
    "tanh": Text("tanh, variance 1", "tanh，方差 1"),
    "small": Text("ReLU, variance 1", "ReLU，方差 1"),
    "he": Text("ReLU, variance 2 (He)", "ReLU，方差 2（He 初始化）"),
    "large": Text("ReLU, variance 4", "ReLU，方差 4"),
}


def read(values) -> Findings:
    sizes = {name: np.log10(values["first"][name]) for name in CHAINS}
    factor, loss = values["factor"], values["loss"]
    wrong = errors(factor)
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
        f"{100 * max(wrong.values()):.0f} %",
        max(wrong.values()) < LARGEST_ERROR,
        {NAMES[name]: factor[name] for name in PREDICTED},
        why_not=WHY_NOT["predicted"](errors(values["wide"]), WIDE) if "wide" in values else None,
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
