"""The explanation and the question."""

from experiments.concepts.frame.diagram import circle, label, line
from experiments.concepts.frame.formula import formula, group, product, sub, total
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("The receptive field", "感受野")
SEEN = 20  # positions on each side of the middle that the chart shows


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    middle, gap = 180, 30
    rows = {30: 0, 84: 1, 138: 2}
    parts = []
    for upper, lower in ((30, 84), (84, 138)):
        for i in range(-rows[upper], rows[upper] + 1):
            for j in (-1, 0, 1):
                kind = "a thick" if (i, j) in ((0, -1), (-1, -1), (0, 1), (1, 1)) else "soft"
                parts.append(line(middle + gap * i, upper, middle + gap * (i + j), lower, kind))
    for y, reach in rows.items():
        parts += [
            circle(middle + gap * i, y, 7, "fill a thick" if abs(i) <= reach else "fill soft")
            for i in range(-4, 5)
        ]
    return [
        *parts,
        label(14, 34, say("1", "1"), "a"),
        label(14, 88, "3", "a"),
        label(14, 142, "5", "a"),
        label(
            180, 172, say("input: 5 of 9 positions are seen", "输入：9 个位置中看到 5 个"), "soft"
        ),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "The [[receptive field]] of a [[unit]] are all inputs that can change it. One layer with a "
        "[[kernel]] of 3 sees 3. A second layer sees 3 of those, which see 5 between them. A stack "
        "of n such layers sees",
        "一个[[unit|单元]]的[[receptive field|感受野]]是能影响它的全部输入。一层核宽为 3 的卷积看到"
        " 3 个输入；第二层看到其中 3 个单元，它们合起来看到 5 个输入。核宽为 3 的卷积堆叠 n 层，感"
        "受野为",
    ),
    formula("r", "=", "1 + 2 n"),
    Diagram(360, 184, Text(
        "Two layers of kernels of 3: one unit sees three units, and these see five inputs",
        "两层核宽为 3 的卷积：一个单元看到三个单元，它们看到五个输入"), _draw),
    Text(
        "With kernels K and [[stride|strides]] s of any size, a layer's window counts in steps of "
        "all strides before it:",
        "核宽 K 和[[stride|步幅]] s 任意时，每层的窗口要以它之前所有步幅之积为单位来计：",
    ),
    formula(
        "r", "=", "1 +", total("l=1", "L", group("(", sub("K", "l"), "- 1 )"),
        product("i=1", "l-1", sub("s", "i"))),
        caption=Text(
            "With gaps between the inputs of a kernel (dilation d), K - 1 becomes d (K - 1).",
            "卷积核的输入之间有间隔时（空洞 d），K - 1 换成 d (K - 1)。",
        ),
    ),
    Text(
        "That is what a unit can see. What it does see much of is another matter: many paths "
        "through the layers lead to the middle of the field, and only one to its edge. The share "
        "of the [[gradient]] that goes to each input tells.",
        "这是它能看到的范围，真正用到多少则是另一回事：穿过各层通往感受野中心的路径很多，"
        "通往边缘的只有一条。[[gradient|梯度]]分给各个输入的份额说明了这一点。",
    ),
    Text(
        "The task: 16 random signs; the label is the sign 10 steps before the last. Four networks "
        "(TCN, kernels of 2, gaps that double) see 3, 7, 15 and 31 steps.",
        "任务：16 个随机的正负号，标签是倒数第 11 个的符号。四个网络（TCN，核宽为 2，间隔逐层加倍）"
        "分别看到 3、7、15、31 步。",
    ),
]  # fmt: skip

GUESS = Text(
    "A stack of 32 layers of 3 sees 65 positions. How many of them make up 95 % of its influence? "
    "And what can a network learn that does not see the step that matters?",
    "核宽为 3 的卷积堆叠 32 层能看到 65 个位置。占影响力 95 % 的有多少个？看不到关键时刻的网络又能"
    "学到什么？",
)
