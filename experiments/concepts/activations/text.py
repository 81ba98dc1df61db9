"""The explanation and the question."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import formula, frac, group, sub, sup
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Activation functions", "激活函数")


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name -> (the function, its slope)
CURVES: dict[str, tuple[Callable, Callable]] = {
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "ReLU": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "leaky ReLU": (lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
}


def _draw(language: str) -> list[str]:
    """Four axes with a function and, dashed, its slope."""
    parts = []
    x = np.linspace(-3, 3, 241)
    for i, (name, (function, slope)) in enumerate(CURVES.items()):
        left, middle = 16 + 172 * (i % 2), 88 + 142 * (i // 2)
        scale = 25
        centre = left + 76
        parts += [
            d.line(left, middle, left + 152, middle, "soft"),
            d.line(centre, middle + 32, centre, middle - 56, "soft"),
            d.label(left + 76, middle - 62, name, "bold"),
            d.label(centre - 6, middle - scale + 5, "1", "soft", size=13, anchor="end"),
            d.line(centre - 3, middle - scale, centre + 3, middle - scale, "soft"),
        ]
        for values, kind in ((slope(x), "b dashed"), (function(x), "a thick")):
            points = [
                (centre + scale * a, middle - scale * b)
                for a, b in zip(x, values, strict=True)
                if b < 2.2
            ]
            parts.append(d.curve(points, kind))
    said = {"en": ("function", "slope"), "zh": ("函数", "斜率")}[language]
    parts += [
        d.line(70, 282, 100, 282, "a thick"),
        d.label(108, 287, said[0], anchor="start"),
        d.line(200, 282, 230, 282, "b dashed"),
        d.label(238, 287, said[1], anchor="start"),
    ]
    return parts


SHAPES = Diagram(
    350, 296,
    Text(
        "Four activations and their slopes from -3 to 3: the sigmoid's slope is at most a quarter, "
        "that of tanh at most one; ReLU's is zero below zero and one above, leaky ReLU's is small "
        "below zero",
        "四种激活函数及其斜率，从 -3 到 3：Sigmoid 的斜率最大为四分之一，tanh 的最大为一；"
        "ReLU 的斜率在负半轴为零、正半轴为一，leaky ReLU 的斜率在负半轴很小",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "A [[unit]] adds up products: it is linear. Two [[layer|layers]] of such units one after "
        "the other are linear again, and so are a hundred. Multiplied out:",
        "[[unit|单元]]把乘积加起来：它是线性的。两[[layer|层]]这样的单元接在一起仍然是线性的，"
        "一百层也一样。乘开就能看到：",
    ),
    formula(
        sub("W", "2"), "(", sub("W", "1"), "x", "+", sub("b", "1"), ")", "+", sub("b", "2"),
    ),
    formula(
        "=", "(", sub("W", "2"), sub("W", "1"), ")", "x", "+", "(", sub("W", "2"), sub("b", "1"),
        "+", sub("b", "2"), ")",
        caption=Text(
            "Two layers with weights W and biases b are one layer with the weights W₂W₁.",
            "权重为 W、偏置为 b 的两层，等于权重为 W₂W₁ 的一层。",
        ),
    ),
    Text(
        "So each number passes through a function that is not linear, the [[activation]], before "
        "the next layer reads it. The old ones, sigmoid and tanh, level off on both sides; ReLU "
        "cuts off what is negative.",
        "因此每个数在进入下一层之前，要经过一个非线性的函数，即[[activation|激活函数]]。"
        "早期的 Sigmoid 和 tanh 在两侧都趋于水平；ReLU 则把负数变成零。",
    ),
    formula(
        "sigmoid(x)", "=", frac("1", group("1", "+", sup("e", "-x"))),
        caption=Text("Its slope is at most 1/4, at x = 0.", "它的斜率在 x = 0 处最大，为 1/4。"),
    ),
    formula("ReLU(x)", "=", "max(0,x)"),
    SHAPES,
    Text(
        "Training needs the slope as well: where it is zero, no [[gradient]] passes. A ReLU that "
        "is "
        "negative for every example of the [[training set]] has slope zero for all of them.",
        "训练还要用到斜率：斜率为零的地方，[[gradient|梯度]]无法通过。如果一个 ReLU 的输入"
        "对[[training set|训练集]]的每个样本都是负数，它的斜率就处处为零。",
    ),
]  # fmt: skip

GUESS = Text(
    "Three convolutions and a fully connected layer name digits drawn as curves. How many do they "
    "get right if every activation is left out: 10, 30 or 90 %?",
    "用三个卷积层和一个全连接层识别画成曲线的数字。如果去掉所有激活函数，准确率会是多少："
    "10 %、30 % 还是 90 %？",
)
