"""Exercise 10: a residual block to mend, and a network to break."""

import numpy as np

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text


def _block_cases() -> list[Case]:
    def case(seed: int, rows: int, width: int) -> Case:
        x, w1, w2 = (
            whole_numbers(seed + i, *s)
            for i, s in enumerate([(rows, width), (width, width), (width, width)])
        )
        return np.abs(x), w1, w2

    zero = np.zeros((2, 2))
    return [(np.array([[1.0, 2.0]]), zero, zero), case(1, 3, 2), case(4, 4, 3)]


BLOCK = Function(
    signature="block(x, w1, w2)",
    doc=Text(
        "A residual block: two layers, x @ w1, ReLU, @ w2; the input is added to what comes out;\n"
        "ReLU at the end. x [n, width] -> [n, width]. This one is broken: mend it.",
        "残差块：两层，x @ w1，ReLU，再 @ w2；输入加到结果上；最后是 ReLU。\n"
        "x [n, 宽] -> [n, 宽]。下面这个是坏的：把它修好。",
    ),
    begin="""
        h = np.maximum(x @ w1, 0)
        h = np.maximum(h @ w2, 0)
        return h
    """,
    body="""
        h = np.maximum(x @ w1, 0)
        h = h @ w2
        return np.maximum(x + h, 0)
    """,
    cases=_block_cases,
    mistakes=(
        mistake(
            "There is no shortcut: with weights of 0 nothing comes through. Add x before the last "
            "ReLU.",
            "没有残差连接：权重为 0 时什么也通不过。在最后的 ReLU 之前加上 x。",
            ("x + h", "h"),
        ),
        mistake(
            "x is added after the last ReLU, so that the block can add but never take away: add x "
            "first, then ReLU.",
            "x 加在了最后的 ReLU 之后，这个块就只能加、不能减：先加 x，再 ReLU。",
            ("np.maximum(x + h, 0)", "x + np.maximum(h, 0)"),
        ),
        mistake(
            "The last ReLU is missing.",
            "少了最后的 ReLU。",
            ("np.maximum(x + h, 0)", "x + h"),
        ),
        mistake(
            "x is multiplied in: with a product the gradient has factors again. Add it.",
            "x 是乘进去的：用乘积，梯度又成了连乘。应该相加。",
            ("x + h", "x * h"),
        ),
        mistake(
            "x is added in the middle, before w2: the way past both layers must stay free.",
            "x 加在了中间，w2 之前：绕过两层的那条路必须畅通。",
            ("h = h @ w2", "h = (h + x) @ w2"),
            ("x + h", "h"),
        ),
        mistake(
            "The ReLU between the two layers is missing: without it they are one layer.",
            "两层之间少了 ReLU：没有它，两层就等于一层。",
            ("h = np.maximum(x @ w1, 0)", "h = x @ w1"),
        ),
        mistake(
            "x is subtracted: add it.",
            "减去了 x：应该加上。",
            ("x + h", "h - x"),
        ),
    ),
)


GAINS = Function(
    signature="gains(depth, factor)",
    doc=Text(
        "Now break it on purpose. `depth` layers in a row, the slope of the last h by the first:\n"
        "plain layers, h becomes factor * h; residual ones, h becomes h + factor * h.",
        "现在故意把它弄坏。depth 层连在一起，最后的 h 对最初的 h 的导数：\n"
        "普通层，h 变成 factor * h；残差层，h 变成 h + factor * h。依次返回。",
    ),
    body="return factor**depth, (1 + factor) ** depth",
    cases=lambda: [(1, 0.5), (2, 0.5), (20, 0.1), (10, -0.1)],
    returns=("plain", "residual"),
    mistakes=(
        mistake(
            "Factors in a row multiply: factor ** depth, not factor * depth.",
            "一层接一层的因子是相乘的：factor ** depth，不是 factor * depth。",
            ("factor**depth,", "factor * depth,"),
        ),
        mistake(
            "Every block has its own shortcut: each is a factor of 1 + factor. One shortcut around "
            "the whole network would give 1 + factor ** depth.",
            "每个块都有自己的残差连接：每块的因子是 1 + factor。只在整个网络外面接一条，才是 1 + "
            "factor ** depth。",
            ("(1 + factor) ** depth", "1 + factor**depth"),
        ),
        mistake(
            "The blocks are added up: 1 + depth * factor is only what is left for a very small "
            "factor. They multiply.",
            "把各块加起来了：1 + depth * factor 只在因子很小时近似成立。它们是相乘的。",
            ("(1 + factor) ** depth", "1 + depth * factor"),
        ),
        mistake(
            "The two are in the wrong order: first plain, then residual.",
            "两者的顺序反了：先普通层，后残差层。",
            ("factor**depth, (1 + factor) ** depth", "(1 + factor) ** depth, factor**depth"),
        ),
    ),
)


EXERCISE = Exercise(
    number=10,
    section="residual",
    title=Text("Mend a residual block, and break a network", "修好一个残差块，弄坏一个网络"),
    task=Text(
        "A residual block adds its input to what it computes. In this one the shortcut is gone: "
        "mend it. Then take the shortcuts out of a deep network and compute what that does to the "
        "gradient.",
        "残差块把输入加到算出的结果上。下面这个块的残差连接不见了：把它修好。"
        "然后把一个深层网络的残差连接全部拆掉，算一算梯度会怎样。",
    ),
    functions=(BLOCK, GAINS),
    hints=(
        Text(
            "With w1 and w2 zero, a block must give back its input (which is never negative).",
            "w1 和 w2 全为零时，残差块应该原样返回输入（输入不会是负的）。",
        ),
        Text(
            "What is inside the last ReLU? The sum of x and of what the second layer gives.",
            "最后的 ReLU 里面是什么？是 x 与第二层结果之和。",
        ),
        Text(
            "The slope of h + factor * h by h is 1 + factor.",
            "h + factor * h 对 h 的导数是 1 + factor。",
        ),
    ),
)
