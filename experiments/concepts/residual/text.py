"""Residual connections: the texts."""

from collections.abc import Callable

import numpy as np

from experiments.concepts import diagram as d
from experiments.concepts.formula import formula, frac, group, product, sub
from experiments.concepts.lesson import Diagram, Paragraph, Text
from experiments.concepts.spread import percent, spread
from experiments.concepts.why import by_seed, joined

TITLE = Text("Residual connections", "残差连接")


def _draw(language: str) -> list[str]:
    """A plain block on the left, a residual one on the right."""
    plain, residual = {"en": ("plain", "residual"), "zh": ("普通", "残差")}[language]
    conv = {"en": "convolution", "zh": "卷积"}[language]
    parts = []
    for x, name in ((80, plain), (252, residual)):
        parts += [
            d.label(x, 20, name, "bold"),
            d.label(x, 44, "x"),
            d.arrow(x, 50, x, 74),
            d.box(x - 52, 74, 104, 30, conv),
            d.arrow(x, 104, x, 126),
            d.box(x - 52, 126, 104, 30, conv),
        ]
    parts += [
        d.arrow(80, 156, 80, 212),
        d.label(80, 230, "f(x)"),
        d.arrow(252, 156, 252, 174),
        d.circle(252, 184, 10),
        d.label(252, 189, "+", "bold"),
        d.arrow(252, 194, 252, 212),
        d.label(252, 230, "x + f(x)"),
        d.curve([(252, 58), (336, 58), (336, 184), (270, 184)], "b thick"),
        d.arrow(280, 184, 262, 184, "b thick"),
    ]
    return parts


BLOCK = Diagram(
    350, 240,
    Text(
        "On the left two convolutions one after the other; on the right the same with a path "
        "around them, whose end is added to their output",
        "左边是先后两个卷积；右边多了一条绕过它们的路，在终点与它们的输出相加",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "A deeper network can do all that a shallow one can: its further [[layer|layers]] would "
        "only have to pass on what they get. Yet with plain layers training does not find even "
        "that. He and colleagues (2015) turned it round: a block gets its input for nothing, by a "
        "[[residual connection]], and learns only what is to be added.",
        "深的网络能做到浅的网络所能做的一切：多出来的[[layer|层]]只要把输入原样传下去就行。"
        "可是用普通的层，训练连这一点都找不到。何恺明等人（2015）换了一个思路："
        "通过[[residual connection|残差连接]]把输入直接送到块的出口，块只需学习应当加上什么。",
    ),
    formula("y", "=", "x", "+", "f(x)"),
    BLOCK,
    Text(
        "Its slope is one plus the slope of f. So a sum stands where there was a product alone: "
        "multiplied out, the gradient that reaches the first layer has a term 1, which passes "
        "through no layer at all.",
        "它的斜率等于一加上 f 的斜率。原来只有连乘的地方现在有了相加：把括号乘开，"
        "传到第一层的梯度里有一项是 1，它不经过任何一层。",
    ),
    formula(
        product("i=1", "n", "(1+", sub("f", "i"), "′)"), "=", "1", "+", sub("f", "1"), "′", "+",
        sub("f", "2"), "′", "+ …",
    ),
    formula(
        "… +", sub("f", "1"), "′", sub("f", "2"), "′", "…", sub("f", "n"), "′",
    ),
    formula(
        frac(group("∂", sub("h", "n")), group("∂", sub("h", "1"))), "=",
        product("i=2", "n", "(1+", sub("f", "i"), "′)"),
        caption=Text(
            "With shortcuts around n − 1 blocks; f′ is the slope of a block.",
            "共有 n − 1 个带残差连接的块；f′ 是块的斜率。",
        ),
    ),
]  # fmt: skip

GUESS = Text(
    "One block in the middle of a trained network is taken out, and nothing is trained again. How "
    "much [[accuracy]] does a plain network of 25 layers lose, and how much a residual one?",
    "从训练好的网络中间拿掉一个块，不再重新训练。25 层的普通网络会损失多少[[accuracy|准确率]]？"
    "残差网络呢？",
)


def _kept(values) -> Text:
    gradient = np.asarray(values["gradient"]["residual"])
    ratio = spread(gradient[:, 0] / gradient[:, -1], digits=2)
    return Text(
        "Each block adds to the signal, which grows, and batch norm behind it divides by its size. "
        f"From the last layer to the first the gradient is multiplied by {ratio}; the rest is the "
        "last layer's own gradient.",
        "每个块都往信号上加一点，信号随之变大，后面的批归一化又除以它的大小。"
        f"从最后一层到第一层，梯度共乘以 {ratio}；其余的差别来自最后一层自己的梯度。",
    )


def _deeper(values, shallow: str, deep: str) -> Text:
    right = values["right"]["plain"]
    seeds = by_seed(values["loss"]["plain"][deep], values["loss"]["plain"][shallow], digits=2)
    return joined(
        seeds,
        Text(
            "The seeds differ more than the depths, or batch norm alone is enough at this depth. "
            "On "
            f"new curves the shallow network is right in {percent(right[shallow])}, the deep one "
            "in "
            f"{percent(right[deep])}.",
            "各个随机种子之间的差别比深度造成的差别还大，或者在这个深度只靠批归一化就够了。"
            f"在新曲线上，浅的网络准确率为 {percent(right[shallow])}，深的为 "
            f"{percent(right[deep])}。",
        ),
    )


def _better(values, shallow: str, deep: str) -> Text:
    alike = values["alike"]
    seeds = by_seed(values["loss"]["plain"][deep], values["loss"]["residual"][deep], digits=2)
    return joined(
        seeds,
        Text(
            "A shortcut helps where the gradient's direction is lost. The cosine between the "
            "gradients "
            f"of neighbours in the plain network is {spread(alike['plain'][shallow], digits=2)} "
            "with "
            f"few layers and {spread(alike['plain'][deep], digits=2)} with many.",
            "只有在梯度方向丢失的地方，残差连接才有帮助。普通网络中相邻输入的梯度之间的余弦，"
            f"层数少时是 {spread(alike['plain'][shallow], digits=2)}，"
            f"层数多时是 {spread(alike['plain'][deep], digits=2)}。",
        ),
    )


def _alike(values, shallow: str, deep: str) -> Text:
    few = spread(values["alike"]["plain"][shallow], digits=2)
    seeds = by_seed(values["alike"]["residual"][deep], values["alike"]["plain"][deep], digits=2)
    return joined(
        seeds,
        Text(
            "The direction is lost with depth, and these networks may not be deep enough. In a "
            "plain "
            f"network of few layers the cosine is {few}.",
            f"方向是随深度逐渐丢失的，这里的网络也许还不够深。层数少的普通网络，余弦是 {few}。",
        ),
    )


def _cut(values, deep: str) -> Text:
    first = np.asarray(values["lost"]["residual"])[:, 0]
    rest = np.asarray(values["lost"]["residual"])[:, 1:].mean(1)
    return Text(
        f"Without its first block the residual network loses {percent(first)}, without one of the "
        f"others {percent(rest)}. The plain one can lose no more than it has: it was right in "
        f"{percent(values['right']['plain'][deep])}, and guessing is right in 10 %.",
        f"去掉第一个块，残差网络损失 {percent(first)}；去掉其他某一个块，损失 {percent(rest)}。"
        f"普通网络的损失也有上限：它的准确率是 {percent(values['right']['plain'][deep])}，"
        "而乱猜就有 10 %。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "kept": _kept,
    "deeper": _deeper,
    "better": _better,
    "alike": _alike,
    "cut": _cut,
}
