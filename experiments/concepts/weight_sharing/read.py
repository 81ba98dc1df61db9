"""What the numbers say."""

from typing import Any

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
from experiments.concepts.frame.spread import above, percent, spread
from experiments.concepts.weight_sharing.claims import PUBLISHED, TOLERANCE
from experiments.concepts.weight_sharing.text import NAMES, ORDERS


def read(values: dict[str, Any]) -> Findings:
    outcomes = {
        f"{name}_{order}": _published(values[name][order], figures[i])
        for name, figures in PUBLISHED.items()
        for i, order in enumerate(ORDERS)
    }
    outcomes["local_helps"] = _step(values, "local", "dense", "in_order")
    outcomes["sharing_helps"] = _step(values, "conv", "local", "in_order")
    outcomes["shuffled_hurts"] = _step(values, "dense", "conv", "shuffled")
    test = {name: 100 * np.mean(values[name]["in_order"]["test"]) for name in NAMES}
    first, second = test["local"] - test["dense"], test["conv"] - test["local"]
    return Findings(
        tables=[_table(values)],
        charts=[_chart(values, part) for part in ("test", "train")],
        outcomes=outcomes,
        reading=[
            Text(
                f"Being local brings {first:+.1f} points, and sharing then {second:+.1f}.",
                f"局部连接带来 {first:+.1f} 个百分点，再共享权重又带来 {second:+.1f} 个。",
            ),
            chosen(
                outcomes["shuffled_hurts"].holds,
                Text(
                    "A convolution assumes two things that are true of these data: neighbours "
                    "belong together, and what occurs at one position can occur at another. "
                    "Shuffling makes both untrue, and the same network loses what made it better.",
                    "卷积对数据作了两个假设，在这里都成立：邻近的点彼此相关，一处出现的形状也会出现"
                    "在别处。打乱之后两者都不再成立，同一个网络便失去了优势。",
                ),
                Text(
                    "A convolution assumes that neighbours belong together. Shuffled, they do not; "
                    "in this measurement it lost less by that than we thought.",
                    "卷积假设邻近的点彼此相关，打乱之后不再如此；在这次测量里，它的损失比我们想的"
                    "小。",
                ),
            ),
        ],
    )


def _published(each: dict[str, Any], figure: int) -> Outcome:
    test, best = (100 * np.array(each[name]) for name in ("test", "best"))
    return Outcome(
        percent(each["test"]),
        bool(abs(test.mean() - figure) <= TOLERANCE),
        {"": list(test)},
        "%",
        Text(
            f"After {spread(each['steps'], digits=0)} steps the training loss is "
            f"{spread(each['loss'], digits=3)} and {percent(each['train'])} of the training set is "
            f"right; at its best step on the way the network had {spread(best)} % of the test set. "
            "The published figure is one run, and has no spread.",
            f"训练 {spread(each['steps'], digits=0)} 步后，训练损失为 "
            f"{spread(each['loss'], digits=3)}，训练准确率为 {percent(each['train'])}；途中最好的测"
            f"试准确率为 {spread(best)} %。论文的数值只来自一次训练，没有波动范围。",
        ),
    )


def _step(values, better: str, worse: str, order: str) -> Outcome:
    a, b = (np.array(values[name][order]["test"]) for name in (better, worse))
    dots: dict[Words, list[float]] = {
        NAMES[better]: list(100 * a),
        NAMES[worse]: list(100 * b),
    }
    return Outcome(
        f"{100 * (a.mean() - b.mean()):+.1f}",
        above(a, b),
        dots,
        "%",
        Text(
            f"The seeds give {percent(a)} and {percent(b)}; their training sets are "
            f"{percent(values[better][order]['train'])} and "
            f"{percent(values[worse][order]['train'])} right.",
            f"各种子为 {percent(a)} 和 {percent(b)}；训练准确率为 "
            f"{percent(values[better][order]['train'])} 和 "
            f"{percent(values[worse][order]['train'])}。",
        ),
    )


def _table(values) -> Table:
    rows: list[list[Words]] = []
    for name, title in NAMES.items():
        each = values[name]
        published = "{} / {} %".format(*PUBLISHED[name]) if name in PUBLISHED else ""
        rows.append(
            [
                title,
                f"{each['parameters']:,}",
                *(percent(each[order][part]) for order in ORDERS for part in ("train", "test")),
                published,
            ]
        )
    parts = (Text("training", "训练"), Text("test", "测试"))
    return Table(
        [
            Text("network", "网络"),
            Text("parameters", "参数量"),
            *(
                Text(f"{order.en}, {part.en}", f"{order.zh}，{part.zh}")
                for order in ORDERS.values()
                for part in parts
            ),
            Text("published test", "论文的测试值"),
        ],
        rows,
        Text("Accuracy on both sets", "两个集合上的准确率"),
    )


def _chart(values, part: str) -> Chart:
    title = {
        "test": Text("Test accuracy", "测试准确率"),
        "train": Text("Training accuracy", "训练准确率"),
    }
    return Chart(
        title[part],
        "",
        Text("accuracy (%)", "准确率（%）"),
        [
            Series(
                name,
                [],
                [[100 * v for v in values[network][order][part]] for network in NAMES],
            )
            for order, name in ORDERS.items()
        ],
        kind="bars",
        categories=list(NAMES.values()),
        y_range=(0, 104),
        marks=[("y", 10, Text("guessing", "乱猜"))],
    )
