"""What section 4 explains, claims, and reads from its numbers."""

from typing import Any

import numpy as np

from experiments.concepts.diagram import arrow, box, grid, label
from experiments.concepts.formula import floor, formula, frac, group, sub, sup
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Diagram,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Paragraph,
    Series,
    Table,
    Text,
    chosen,
)
from experiments.concepts.spread import percent, spread

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

CLAIMS = [
    Claim(
        "size",
        Text("The formula gives the size that JAX computes", "公式给出的尺寸与 JAX 算出的一致"),
        "100 %",
    ),
    Claim(
        "parameters",
        Text("and the number of parameters that Flax makes", "参数个数与 Flax 创建的一致"),
        "100 %",
    ),
    Claim(
        "shrinks",
        Text(
            "Without padding, no more than three layers of 3x3 fit onto an image of 8x8",
            "不填充时，8x8 的图像最多放得下三层 3x3 卷积",
        ),
        "8, 6, 4, 2",
    ),
    Claim(
        "work",
        Text("Stride 2 takes a quarter of the work", "步幅为 2 时运算量降为四分之一"),
        "0.25 ± 0.02",
    ),
    Claim(
        "zeros",
        Text(
            "Padded with zeros, the network knows left from right: the border gives it away "
            "(Islam 2020, arXiv:2001.08248)",
            "补零时，网络能分清左右：是边缘泄露了位置（Islam 2020, arXiv:2001.08248）",
        ),
        "> 90 %",
    ),
    Claim(
        "wrapped",
        Text(
            "Without a border, the image wrapped around, it can only guess",
            "没有边缘（首尾相接）时，它只能猜",
        ),
        "50 ± 6 %",
    ),
]  # fmt: skip


def read(values: dict[str, Any]) -> Findings:
    where = values["where"]
    zeros, wrapped = (np.array(where[name]["test"]) for name in PADDINGS)
    work = {int(stride): count for stride, count in values["work"].items()}
    compared, right = values["parameters"]
    share = work[2] / work[1]
    knows, guesses = zeros.mean() > 0.9, abs(wrapped.mean() - 0.5) <= 0.06
    return Findings(
        tables=[
            Table(
                [Text("compared", "比较"), Text("layers", "层数"), Text("agree", "一致")],
                [
                    [Text("size", "尺寸"), f"{values['compared']:,}", f"{values['agree']:,}"],
                    [Text("parameters", "参数个数"), f"{compared}", f"{right}"],
                ],
            ),
            Table(
                [
                    Text("padding", "填充"),
                    Text("training accuracy", "训练准确率"),
                    Text("test accuracy", "测试准确率"),
                    Text("steps", "更新次数"),
                    Text("training loss", "训练损失"),
                ],
                [
                    [
                        title,
                        percent(where[name]["train"]),
                        percent(where[name]["test"]),
                        spread(where[name]["steps"], digits=0),
                        spread(where[name]["loss"], digits=2),
                    ]
                    for name, title in PADDINGS.items()
                ],
                Text("Left or right?", "左还是右？"),
            ),
        ],
        charts=[
            Images(
                Text("A white image after layers that take the mean", "全白图像经过取平均的层之后"),
                [
                    ImageRow(
                        Text("zeros around it", "四周补零"),
                        values["border"],
                        [Text(f"{n} layers", f"{n} 层") for n in (1, 2, 4)],
                        "heat",
                        0,
                        1,
                    )
                ],
            ),
            Chart(
                Text("Is the digit left or right?", "数字在左还是在右？"),
                Text("padding", "填充"),
                Text("test accuracy (%)", "测试准确率（%）"),
                [Series("", [], [[100 * v for v in where[n]["test"]] for n in PADDINGS])],
                kind="bars",
                categories=list(PADDINGS.values()),
                y_range=(0, 104),
                marks=[("y", 50, Text("guessing", "乱猜"))],
            ),
        ],
        outcomes={
            "size": Outcome(
                f"{100 * values['agree'] / values['compared']:g} %",
                values["agree"] == values["compared"],
            ),
            "parameters": Outcome(f"{100 * right / compared:g} %", right == compared),
            "shrinks": Outcome(
                ", ".join(str(side) for side in values["shrinks"]),
                values["shrinks"] == [8, 6, 4, 2],
            ),
            "work": Outcome(
                f"{share:.3f}",
                abs(share - 0.25) <= 0.02,
                why_not=Text(
                    f"Counted are {work[1]:,} and {work[2]:,} multiply-adds.",
                    f"数得的乘加次数为 {work[1]:,} 和 {work[2]:,}。",
                ),
            ),
            "zeros": _outcome(where["SAME"], bool(knows)),
            "wrapped": _outcome(where["CIRCULAR"], bool(guesses)),
        },
        reading=[
            Text(
                "Sizes are arithmetic: a network that is written down can be checked on paper.",
                "尺寸只是算术：写好的网络可以在纸上核对。",
            ),
            chosen(
                bool(knows and guesses),
                Text(
                    "The same three layers know left from right where there is a border, and do "
                    "not where there is none. Padding is not neutral: it tells a convolution where "
                    "it is.",
                    "同样的三层，有边缘时分得清左右，没有边缘时则不能。填充并不是中性的：它让卷积知"
                    "道自己在哪里。",
                ),
                Text(
                    "How much a border tells a network is in the second table.",
                    "边缘能告诉网络多少，见第二张表。",
                ),
            ),
        ],
    )


def _outcome(each: dict[str, Any], holds: bool) -> Outcome:
    return Outcome(
        percent(each["test"]),
        holds,
        {"": [100 * v for v in each["test"]]},
        "%",
        Text(
            f"After {spread(each['steps'], digits=0)} steps the training loss is "
            f"{spread(each['loss'], digits=2)} (guessing: 0.69) and the training accuracy "
            f"{percent(each['train'])}.",
            f"训练 {spread(each['steps'], digits=0)} 步后，训练损失为 "
            f"{spread(each['loss'], digits=2)}（乱猜为 0.69），训练准确率为 "
            f"{percent(each['train'])}。",
        ),
    )
