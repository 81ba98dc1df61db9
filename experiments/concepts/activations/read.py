"""What the numbers say."""

import numpy as np

from experiments.concepts.activations.claims import ROUNDING
from experiments.concepts.activations.measure import (
    ACTIVATIONS,
    BOTH_RATES,
    GOOD,
    HIGH,
    POINTS,
    WINDOW,
)
from experiments.concepts.activations.why_not import WHY_NOT
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
from experiments.concepts.frame.spread import above, percent, spread, versus

NAMES: dict[str, Words] = {
    "identity": Text("none", "无"), "sigmoid": Text("sigmoid", "Sigmoid"), "tanh": "tanh",
    "relu": "ReLU", "leaky_relu": "leaky ReLU", "gelu": "GELU",
}  # fmt: skip


def read(values) -> Findings:
    right = {name: values["right"][name][0] for name in ACTIVATIONS}
    dead = {(name, i): values["dead"][name][i] for name in BOTH_RATES for i in (0, 1)}
    bends, gap = values["bends"], 100 * abs(np.mean(right["gelu"]) - np.mean(right["relu"]))
    at = [Text(f"rate {rate:g}", f"学习率 {rate:g}") for rate in (GOOD, HIGH)]

    def hundred(each) -> list[float]:
        return [100 * x for x in each]

    outcomes = {
        "linear": Outcome(
            percent(right["identity"]), bool(np.mean(right["identity"]) < 0.4),
            {"": hundred(right["identity"])}, "%", WHY_NOT["linear"](values),
        ),
        "matrix": Outcome(
            f"{np.max(values['matrix']):.0e}", bool(np.max(values["matrix"]) < ROUNDING),
            {"": values["matrix"]}, why_not=WHY_NOT["matrix"](values),
        ),
        "bends": Outcome(
            spread(bends["relu"], digits=0), bool(np.mean(bends["relu"]) > 100),
            {"ReLU": bends["relu"]}, why_not=WHY_NOT["bends"](values),
        ),
        "faster": Outcome(
            versus(right['relu'], right['sigmoid']),
            above(right["relu"], right["sigmoid"]),
            {NAMES[name]: hundred(right[name]) for name in ("relu", "sigmoid")}, "%",
            WHY_NOT["faster"](values),
        ),
        "modern": Outcome(
            Text(f"{gap:.1f} points", f"{gap:.1f} 个百分点"), bool(gap < 5),
            {NAMES[name]: hundred(right[name]) for name in ("relu", "gelu")}, "%",
            WHY_NOT["modern"](values),
        ),
        "dead": Outcome(
            versus(dead['relu', 1], dead['relu', 0]),
            above(dead["relu", 1], dead["relu", 0]),
            {at[i]: hundred(dead["relu", i]) for i in (1, 0)}, "%", WHY_NOT["dead"](values),
        ),
        "leaky": Outcome(
            percent(dead["leaky_relu", 1]), bool(np.max(dead["leaky_relu", 1]) == 0),
            {at[1]: hundred(dead["leaky_relu", 1])}, "%", WHY_NOT["leaky"](values),
        ),
    }  # fmt: skip
    headings = [Text("activation", "激活函数"), Text("accuracy", "准确率"),
                Text("dead units", "死亡单元")]  # fmt: skip
    tables = [
        Table(
            headings,
            [
                [NAMES[name], percent(values["right"][name][i]), percent(values["dead"][name][i])]
                for name in names
            ],
            Text(f"Learning {said.en}", f"{said.zh}"),
        )
        for i, (names, said) in enumerate(zip((ACTIVATIONS, BOTH_RATES), at, strict=True))
    ]
    return Findings(tables, _charts(values), outcomes, _reading(values, outcomes))


def _charts(values) -> list[Chart]:
    windows = len(values["losses"]["relu"][0])
    steps = [WINDOW * (i + 1) for i in range(windows)]
    losses = [
        Series(NAMES[name], steps, np.transpose(values["losses"][name]).tolist())
        for name in ACTIVATIONS
    ]
    share = np.linspace(0, 1, POINTS)[:: POINTS // 200]
    lines = [
        Series(NAMES[name], share.tolist(), [[v] for v in line[:: POINTS // 200]])
        for name, line in values["line"].items()
    ]
    return [
        Chart(Text("Learning with each activation", "使用各种激活函数时的学习过程"),
              Text("step", "更新次数"), Text("training loss", "训练损失"), losses, kind="curve"),
        Chart(Text("From one example straight to another", "从一个样本沿直线走到另一个样本"),
              Text("share of the way", "走过的比例"), Text("one output", "其中一个输出"), lines,
              kind="curve"),
    ]  # fmt: skip


def _reading(values, outcomes) -> list[Text]:
    bends = spread(values["bends"]["relu"], digits=0)
    reached = {n: spread(np.array(v)[:, -1], digits=2) for n, v in values["losses"].items()}
    return [
        chosen(
            outcomes["matrix"].holds,
            Text(
                "The network without an activation has three layers and thousands of weights, and "
                "yet one matrix of 40 × 10 numbers does the same: along a straight line between "
                f"two examples its output is a straight line. ReLU's bends {bends} times on the "
                "way.",
                "没有激活函数的网络虽有三层、几千个权重，一个 40 × 10 的矩阵却能算出同样的结果："
                "沿着两个样本之间的直线走，它的输出也是一条直线。"
                f"而 ReLU 网络的输出在途中转折 {bends} 次。",
            ),
            Text(
                f"ReLU's output bends {bends} times between two examples.",
                f"在两个样本之间，ReLU 网络的输出转折 {bends} 次。",
            ),
        ),
        Text(
            f"After the same steps the training loss is {reached['sigmoid']} with the sigmoid, "
            f"{reached['tanh']} with tanh, {reached['relu']} with ReLU and {reached['gelu']} with "
            "GELU.",
            f"更新次数相同时，训练损失分别为：Sigmoid {reached['sigmoid']}，tanh "
            f"{reached['tanh']}，"
            f"ReLU {reached['relu']}，GELU {reached['gelu']}。",
        ),
        chosen(
            outcomes["dead"].holds,
            Text(
                "A ReLU that is off for every example has slope zero for each of them. It gets no "
                "gradient, so nothing switches it on again: that is a dead unit.",
                "如果一个 ReLU 对所有样本都关闭，它对每个样本的斜率都是零。它得不到梯度，"
                "也就再没有什么能让它重新打开：这就是死亡单元。",
            ),
            Text(
                "The high rate did not kill more ReLUs than the good one.",
                "较高的学习率并没有比合适的学习率使更多的 ReLU 死亡。",
            ),
        ),
    ]
