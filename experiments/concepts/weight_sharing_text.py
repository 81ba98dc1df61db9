"""What section 3 explains, claims, and reads from its numbers."""

from typing import Any

import numpy as np

from experiments.concepts.diagram import circle, label, line
from experiments.concepts.formula import formula, sub, total, words
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Diagram,
    Findings,
    Outcome,
    Paragraph,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.spread import above, percent, spread

TITLE = Text("Local, then shared", "先局部，再共享")
NAMES = {
    "linear": Text("linear", "线性"),
    "dense": Text("fully connected", "全连接"),
    "local": Text("local", "局部连接"),
    "conv": Text("convolutional", "卷积"),
    "recurrent": Text("recurrent", "循环"),
}
# Greydanus 2020, arXiv:2011.14439, table 1: accuracy in percent, in order and shuffled.
PUBLISHED = {"linear": (32, 32), "dense": (68, 68), "conv": (94, 56), "recurrent": (91, 57)}
# The table has one run of each; its authors' notebook prints 92.3 for the convolution and 64.6 for
# the fully connected network (github.com/greydanus/mnist1d, notebooks/quickstart.ipynb).
TOLERANCE = 3  # points, for other initial values and orders of the examples
ORDERS = {"in_order": Text("in order", "顺序正常"), "shuffled": Text("shuffled", "位置打乱")}


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    left, right = [44 + 26 * i for i in range(5)], [70 + 26 * i for i in range(3)]
    parts = [line(24, a, 84, b, "soft") for a in left for b in right]
    kinds = (("a", "b thick", "c dashed"), ("a", "a", "a"))
    for i, middle in enumerate(right):
        for j, offset in enumerate((-26, 0, 26)):
            parts.append(line(142, middle + offset, 202, middle, kinds[0][(i + j) % 3]))
            parts.append(line(260, middle + offset, 320, middle, ("a", "b thick", "c dashed")[j]))
    for shift in (0, 118, 236):
        parts += [circle(24 + shift, y, 6) for y in left]
        parts += [circle(84 + shift, y, 6) for y in right]
    return [
        *parts,
        label(54, 22, say("all to all", "全部相连")),
        label(172, 22, say("local", "局部")),
        label(290, 22, say("and shared", "再共享")),
        label(54, 180, "15", "soft"),
        label(172, 180, "9", "soft"),
        label(290, 180, "3", "soft"),
        label(172, 200, say("weights", "权重数"), "soft"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "A [[convolution]] differs from a [[fully connected]] layer in two ways. It is local: a "
        "[[unit]] sees only a [[window]] of neighbours. And it shares: all positions use the same "
        "[[kernel]]. Each of the two takes weights away:",
        "[[convolution|卷积]]与[[fully connected|全连接]]层有两点不同。一是局部：每个[[unit|单元]]"
        "只看一[[window|窗口]]的邻近输入。二是共享：所有位置用同一个[[kernel|卷积核]]。"
        "这两点都让权重变少：",
    ),
    formula(
        sub("n", "in"), "*", sub("n", "out"), "→", "K *", sub("n", "out"), "→", "K",
        caption=Text(
            "Weights with one input and one output channel: all to all, local with K inputs for "
            "each unit, and shared.",
            "一个输入通道、一个输出通道时的权重数：全部相连，局部（每个单元 K 个输入），共享。",
        ),
    ),
    Diagram(344, 208, Text(
        "Five inputs, three units: 15 weights, 9 if each unit has three inputs, 3 if they are "
        "shared",
        "五个输入、三个单元：15 个权重；每个单元只连三个输入时 9 个；共享时 3 个"), _draw),
    formula(
        sub("y", "i"), "=", total("k=0", "K-1", sub("w", "i,k"), sub("x", "i+k")),
        words(Text("(local)", "（局部）")), ",",
        sub("y", "i"), "=", total("k=0", "K-1", sub("w", "k"), sub("x", "i+k")),
        words(Text("(shared)", "（共享）")),
    ),
    Text(
        "`mnist1d` lets us take the two apart. A local network without sharing has a kernel of its "
        "own at every position. And all 40 positions can be shuffled, the same way in every "
        "example: then no number is lost, but neighbours no longer belong together. Every network "
        "trains until its loss is below 0.01, or as long as its authors trained it.",
        "`mnist1d`可以把这两点分开来看。只局部、不共享的网络在每个位置有自己的卷积核。还可以把 40 "
        "个位置按同一种方式打乱：一个数也没丢，但相邻的数不再有关系。每个网络都训练到损失低于 "
        "0.01，或与原作者的训练一样久。",
    ),
]  # fmt: skip

GUESS = Text(
    "Which of the two brings more: looking at neighbours only, or sharing the weights? And which "
    "network suffers most when the positions are shuffled?",
    "哪一点带来的好处更大：只看邻近，还是共享权重？打乱位置时，哪个网络受害最深？",
)

CLAIMS = [
    *(
        Claim(
            f"{name}_{order}",
            Text(
                f"{NAMES[name].en}, {ORDERS[order].en}: as published",
                f"{NAMES[name].zh}，{ORDERS[order].zh}：与论文一致",
            ),
            f"{figures[i]} ± {TOLERANCE} %",
        )
        for name, figures in PUBLISHED.items()
        for i, order in enumerate(ORDERS)
    ),
    Claim(
        "local_helps",
        Text("Looking at neighbours only is an advantage", "只看邻近位置就有优势"),
        "> 0",
    ),
    Claim(
        "sharing_helps",
        Text("Sharing weights over all positions adds to it", "在所有位置共享权重进一步提高"),
        "> 0",
    ),
    Claim(
        "shuffled_hurts",
        Text(
            "Without neighbours that belong together, the convolutional network is worse than the "
            "fully connected one",
            "邻近关系被打乱后，卷积网络反而不如全连接",
        ),
        "> 0",
    ),
]


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
