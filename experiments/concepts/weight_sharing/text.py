"""The explanation and the question."""

from experiments.concepts.frame.diagram import circle, label, line
from experiments.concepts.frame.formula import formula, sub, total, words
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Local, then shared", "先局部，再共享")
NAMES = {
    "linear": Text("linear", "线性"),
    "dense": Text("fully connected", "全连接"),
    "local": Text("local", "局部连接"),
    "conv": Text("convolutional", "卷积"),
    "recurrent": Text("recurrent", "循环"),
}

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
        words(Text("(local)", "（局部）")),
    ),
    formula(
        sub("y", "i"), "=", total("k=0", "K-1", sub("w", "k"), sub("x", "i+k")),
        words(Text("(shared)", "（共享）")),
    ),
    Text(
        "`mnist1d` lets us take the two apart. A local network without sharing has a kernel of its "
        "own at every position. And all 40 positions can be shuffled, the same way in every "
        "example: then no number is lost, but neighbours no longer belong together. Every network "
        "trains until its loss is below 0.01, or as long as its authors trained it.",
        "`mnist1d` 可以把这两点分开来看。只局部、不共享的网络在每个位置有自己的卷积核。还可以把 40 "
        "个位置按同一种方式打乱：一个数也没丢，但相邻的数不再有关系。每个网络都训练到损失低于 "
        "0.01，或与原作者的训练一样久。",
    ),
]  # fmt: skip

GUESS = Text(
    "Which of the two brings more: looking at neighbours only, or sharing the weights? And which "
    "network suffers most when the positions are shuffled?",
    "哪一点带来的好处更大：只看邻近，还是共享权重？打乱位置时，哪个网络受害最深？",
)
