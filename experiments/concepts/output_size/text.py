"""The explanation and the question."""

from experiments.concepts.frame.diagram import arrow, box, grid, label
from experiments.concepts.frame.formula import floor, formula, frac, group, sub, sup
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Padding, stride, channels, and the size that comes out", "填充、步幅、通道与输出尺寸")
PADDINGS = {"SAME": Text("zeros", "补零"), "CIRCULAR": Text("wrapped around", "首尾相接")}


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    row = [["0", "4", "7", "2", "5", "1", "0"]]
    zeros = lambda r, c: 0.15 if c in (0, 6) else 0.0  # noqa: E731
    return [
        label(14, 24, say("n = 5, padded by p = 1", "n = 5，填充 p = 1"), anchor="start"),
        grid(14, 36, row, cell=30, shade=zeros),
        box(14, 36, 90, 30, "", "a thick"),
        box(74, 32, 90, 38, "", "b thick dashed"),
        box(134, 36, 90, 30, "", "c thick"),
        label(240, 56, "K = 3", anchor="start"),
        arrow(59, 72, 59, 104, "a"),
        arrow(119, 76, 119, 104, "b"),
        arrow(179, 72, 179, 104, "c"),
        box(44, 108, 30, 30, "a", "fill a"),
        box(104, 108, 30, 30, "b", "fill b"),
        box(164, 108, 30, 30, "c", "fill c"),
        label(
            14,
            162,
            say("s = 2: the output has 3 numbers", "步幅 s = 2：输出 3 个数"),
            anchor="start",
        ),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "A window of K numbers fits n − K + 1 times into n: without more, every layer makes the "
        "map smaller. [[padding|Padding]] puts p numbers, usually zeros, on each side. A "
        "[[stride]] s moves the window by s at a time. Dilation d leaves gaps between the inputs "
        "of a window. Together, for each axis:",
        "K 个数的窗口在 n 个数里能放 n − K + 1 次：不作处理的话，每层都会把特征图变小一些。"
        "[[padding|填充]]在两侧各补 p 个数，通常是零。[[stride|步幅]] s 让窗口每次移动 s 格。"
        "空洞（dilation）d 在窗口的输入之间留出间隔。合起来，每个轴上的输出尺寸为：",
    ),
    formula("o", "=", floor(frac("n + 2 p - d (K - 1) - 1", "s")), "+ 1"),
    Diagram(330, 172, Text(
        "Five numbers with a zero on each side; three windows of three, two apart, give three "
        "outputs",
        "五个数，两侧各补一个零；三个长为 3 的窗口每次移动两格，得到三个输出"), _draw),
    Text(
        "With K = 3, p = 1 and s = 1 the size stays. A [[kernel]] reaches through all input "
        "[[channel|channels]] and makes one output channel; a layer has as many kernels as it has "
        "output channels:",
        "K = 3、p = 1、s = 1 时尺寸不变。一个[[kernel|卷积核]]贯穿全部输入[[channel|通道]]，产生一"
        "个输出通道；有多少个输出通道，就有多少个卷积核：",
    ),
    formula(
        group("(", sup("K", "2"), "*", sub("C", "in"), "+ 1 )"), "*", sub("C", "out"),
        caption=Text("Parameters of a layer; the 1 is the [[bias]].",
                     "一层的参数个数；其中的 1 是[[bias|偏置]]。"),
    ),
    formula(
        sup("o", "2"), "*", sup("K", "2"), "*", sub("C", "in"), "*", sub("C", "out"),
        caption=Text("[[multiply-add|Multiply-adds]] of a layer for a square image.",
                     "一层对正方形图像的[[multiply-add|乘加]]次数。"),
    ),
    Text(
        "Padding has a side effect. Zeros are unlike the image, so outputs near the border are "
        "unlike those in the middle. Can a network use that to know where it is?",
        "填充有一个副作用。零与图像不同，所以边缘附近的输出与中间的不同。网络能不能借此知道自己在哪"
        "里？",
    ),
]  # fmt: skip

GUESS = Text(
    "A network of three convolutions takes the mean over all positions, and then has to say "
    "whether a digit stands in the left or the right half. A convolution is the same everywhere, "
    "and a mean forgets places. Can it know?",
    "一个网络做三次卷积，再对所有位置取平均，然后要说出数字在左半边还是右半边。"
    "卷积处处相同，平均又忘掉了位置。它能知道吗？",
)
