"""The explanation and the question."""

from experiments.concepts.frame.diagram import arrow, box, grid, label
from experiments.concepts.frame.formula import formula, sub, total
from experiments.concepts.frame.lesson import Code, Diagram, Paragraph, Text

IMAGE = ((0, 1, 2, 0), (0, 3, 1, 0), (1, 2, 0, 0), (0, 0, 0, 0))
KERNEL = ((1, 0, -1), (1, 0, -1), (1, 0, -1))  # bright on the left, dark on the right
BY_HAND = 0 - 2 + 0 - 1 + 1 - 0  # of the first window: left column minus right column
KERNELS = {
    "vertical": KERNEL,
    "horizontal": ((1, 1, 1), (0, 0, 0), (-1, -1, -1)),
    "blur": ((1 / 9,) * 3,) * 3,
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
}
NAMES = {
    "vertical": Text("vertical edges", "竖直边缘"),
    "horizontal": Text("horizontal edges", "水平边缘"),
    "blur": Text("blur", "模糊"),
    "sharpen": Text("sharpen", "锐化"),
}

TITLE = Text("One window, by hand", "亲手算一个窗口")


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    inside = lambda row, column: 0.18 if row < 3 and column < 3 else 0.0  # noqa: E731
    return [
        label(62, 20, say("image", "图像")),
        grid(14, 30, IMAGE, shade=inside),
        box(14, 30, 72, 72, "", "a thick"),
        label(130, 72, "·"),
        label(182, 20, say("kernel", "卷积核")),
        grid(146, 30, [[str(v).replace("-", "−") for v in row] for row in KERNEL], kind="b"),
        arrow(232, 66, 262, 66),
        label(296, 20, say("output", "输出")),
        box(284, 54, 24, 24, str(BY_HAND).replace("-", "−"), "fill c thick"),
        label(160, 146, say("left column − right column", "左列 − 右列"), "soft"),
        label(160, 166, "(0 + 0 + 1) − (2 + 1 + 0) = −2", ""),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "A [[convolution]] looks at a small [[window]] of the image, multiplies each number in "
        "it by a [[weight]], and adds the products. Then the window moves on by one, with the "
        "same weights. These weights are the [[kernel]]; the sums make a [[feature map]].",
        "[[convolution|卷积]]每次看图像的一个小[[window|窗口]]，把其中每个数乘以一个"
        "[[weight|权重]]，再把乘积加起来；然后窗口移动一格，权重不变。这组权重就是"
        "[[kernel|卷积核]]，所有的和组成[[feature map|特征图]]。",
    ),
    formula(
        sub("y", "i,j"),
        "=",
        total("u=0", "K-1", total("v=0", "K-1", sub("w", "u,v"), sub("x", "i+u, j+v"))),
        "+ b",
    ),
    Diagram(
        320,
        176,
        Text(
            "A window of 3x3 times a kernel of 3x3 gives one number, minus 2",
            "3x3 的窗口与 3x3 的卷积核相乘求和，得到一个数：负 2",
        ),
        _draw,
    ),
    Text(
        "The kernel in the diagram subtracts the right column from the left one. Where both "
        "are equally bright the answer is 0; at a vertical edge it is large. The [[bias]] b is "
        "added to every answer; here it is 0. In NumPy:",
        "图中的卷积核用左列减去右列：两边一样亮时结果为 0，遇到竖直边缘时结果就大。"
        "[[bias|偏置]] b 加到每个结果上，这里取 0。用 NumPy 写出来：",
    ),
    Code(
        "for i in range(H - K + 1):\n"
        "    for j in range(W - K + 1):\n"
        "        window = x[i:i+K, j:j+K]\n"
        "        y[i, j] = (window * w).sum()"
    ),
]

GUESS = Text(
    "Compute the window in the diagram yourself. Then: which windows of a digit give this "
    "kernel its largest answers?",
    "先自己算一算图中的窗口。再想想：数字图像的哪些窗口会让这个卷积核给出最大的结果？",
)
