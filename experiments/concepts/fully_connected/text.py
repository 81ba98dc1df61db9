"""The explanation and the question."""

from experiments.concepts.frame.diagram import circle, label, line
from experiments.concepts.frame.formula import formula, sub, total
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("The fully connected network, and its four problems", "全连接网络和它的四个问题")
NAMES = {"dense": Text("fully connected", "全连接"), "conv": Text("convolutional", "卷积")}


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    left, right = [40 + 26 * i for i in range(5)], [66 + 26 * i for i in range(3)]
    parts = [line(40, a, 130, b, "soft") for a in left for b in right]
    parts += [line(220, a, 310, b, "a") for b, a in zip(right, left[1:4], strict=True)]
    parts += [line(220, b - 26, 310, b, "a") for b in right]
    parts += [line(220, b + 26, 310, b, "a") for b in right]
    for shift in (0, 180):
        parts += [circle(40 + shift, y) for y in left] + [circle(130 + shift, y) for y in right]
    return [
        *parts,
        label(85, 20, say("fully connected", "全连接")),
        label(265, 20, say("convolution", "卷积"), "a"),
        label(85, 176, say("15 weights", "15 个权重"), "soft"),
        label(265, 176, say("3 weights, shared", "3 个权重，共用"), "a"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "In a [[fully connected]] layer every [[unit]] reads every input, each by a [[weight]] of "
        "its own. With enough units such a network can compute anything a convolution can. So "
        "what is wrong with it?",
        "[[fully connected|全连接]]层里，每个[[unit|单元]]都读取全部输入，每个输入各有一个"
        "[[weight|权重]]。单元足够多时，卷积能算的它都能算。那么它有什么问题？",
    ),
    formula(sub("y", "j"), "=", "f (", total("i=1", "n", sub("w", "j,i"), sub("x", "i")), "+",
            sub("b", "j"), ")"),
    Diagram(350, 188, Text(
        "Five inputs and three units: fully connected by 15 lines, or by a window of three each",
        "五个输入、三个单元：全连接有 15 条线；卷积每个单元只连三个输入"), _draw),
    Text(
        "Four problems. Overfitting: many weights and few examples, and the network learns the "
        "examples by heart. Cost: the number of weights is inputs times units. Gradients: in "
        "deep networks the [[gradient]] fades from layer to layer (section 8). Blindness: the "
        "order of the inputs means nothing to it; it cannot know that two pixels are neighbours.",
        "有四个问题。过拟合：权重多、样本少，网络就把样本背了下来。代价：权重数等于输入数乘单元数。"
        "梯度：网络一深，[[gradient|梯度]]逐层减弱（见第 8 节）。"
        "看不见局部结构：输入的先后次序对它毫无意义，两个像素是否相邻，它无从知道。",
    ),
    Text(
        "Here both networks train until their [[loss]] on the [[training set]] is below 0.02, "
        "and not for a number of steps: both know their examples then, and a difference on the "
        "[[test set]] is not one of unfinished training. All figures of a network show both sets.",
        "这里两种网络都训练到[[training set|训练集]]上的[[loss|损失]]低于 0.02 为止，而不是固定的更"
        "新次数：那时两者都已学会自己的样本，[[test set|测试集]]上的差别就不是因为没训练完。"
        "每个网络都同时给出两个集合上的结果。",
    ),
]  # fmt: skip

GUESS = Text(
    "Both networks name nearly all of their training examples right. By how many points does the "
    "convolutional one do better on examples that it has never seen? And does that depend on how "
    "many examples there are?",
    "两种网络都能认对几乎所有训练样本。在没见过的样本上，卷积网络会高出几个百分点？这与样本多少有关"
    "吗？",
)
