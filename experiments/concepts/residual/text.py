"""The explanation and the question."""

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import formula, frac, group, product, sub
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

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
