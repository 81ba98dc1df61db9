"""The explanation and the question."""

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import Part, formula, frac, group, product, sub, sup
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Gradients that vanish and explode", "梯度消失与梯度爆炸")


def _partial(of: str, by: str) -> Part:
    return frac(
        group("∂", sub(*of.split("_")) if "_" in of else of), group("∂", sub(*by.split("_")))
    )


def _draw(language: str) -> list[str]:
    """A chain of layers, forwards above and backwards below, with a factor at each."""
    parts = []
    names = ["x", "1", "2", "3", "4", "L"]
    for i, name in enumerate(names):
        x = 14 + 60 * i
        if 0 < i < len(names) - 1:
            parts.append(d.box(x, 48, 34, 34, name))
        else:
            parts.append(d.label(x + 17, 70, name, "bold"))
        if i:
            parts.append(d.arrow(x - 26, 58, x, 58, "a"))
            parts.append(d.arrow(x, 74, x - 26, 74, "b"))
    said = {"en": ("signal, forwards", "gradient, backwards"), "zh": ("前向：信号", "反向：梯度")}
    above, below = said[language]
    parts.append(d.label(180, 26, above, "a"))
    for i, text in enumerate(("0.002", "0.008", "0.03", "0.13", "0.5")):
        parts.append(d.label(41 + 60 * i, 106, text, "b", size=13))
    parts.append(d.label(180, 134, f"{below}: × 1/4", "b"))
    return parts


CHAIN = Diagram(
    350, 146,
    Text(
        "Four layers between input and loss: the signal passes from left to right, the gradient "
        "from right to left, and each layer multiplies it by a quarter",
        "输入与损失之间的四层：信号从左向右，梯度从右向左，每层都把梯度乘以四分之一",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "Training changes each [[weight]] along its [[gradient]]. For a weight of an early "
        "[[layer]] that gradient has to come back through all the later layers, and each of them "
        "multiplies it: that is the chain rule.",
        "训练沿着[[gradient|梯度]]修改每个[[weight|权重]]。靠前的[[layer|层]]，它的梯度要从损失"
        "开始穿过后面所有的层才能传回来，而每一层都会给它乘上一个因子：这就是链式法则。",
    ),
    formula(
        _partial("L", "h_1"), "=", _partial("L", "h_n"),
        product("i=2", "n", _partial("h_i", "h_i-1")),
        caption=Text(
            "h is what a layer puts out, L the loss, n the number of layers.",
            "h 是层的输出，L 是损失，n 是层数。",
        ),
    ),
    CHAIN,
    Text(
        "A product of many factors is seldom of moderate size. Factors a little below one make it "
        "vanish, a little above one make it explode: 0.8 to the power of 24 is 0.005, and 1.25 to "
        "the power of 24 is 212. The factor of a layer has two parts: its weights, and the slope "
        "of its [[activation]]. A sigmoid's slope is at most 1/4.",
        "许多因子的乘积很少会大小适中。因子略小于一，乘积就趋于消失；略大于一，乘积就会爆炸："
        "0.8 的 24 次方是 0.005，1.25 的 24 次方是 212。一层的因子由两部分决定：权重，"
        "以及[[activation|激活函数]]的斜率。Sigmoid 的斜率最大只有 1/4。",
    ),
    Text(
        "The weights can be chosen so that the factor is one. With n inputs of a unit and weights "
        "of variance v/n, a sum keeps the mean square of its inputs times v; ReLU sets half of the "
        "sums to zero, which halves the mean square. So v = 2 keeps it (He 2015).",
        "可以选择权重使这个因子等于一。若每个[[unit|单元]]有 n 个输入，权重的方差为 v/n，"
        "则求和使均方值变为输入的 v 倍；ReLU 又把一半的和变成零，均方值减半。"
        "所以取 v = 2 正好保持不变（He 2015）。",
    ),
    formula(
        sub("a", "n"), "=", sup(group("(", frac("v", "2"), ")"), "n/2"),
        caption=Text(
            "Size of the gradient after n layers with ReLU and weights of variance v / inputs.",
            "使用 ReLU、权重方差为 v/输入数时，经过 n 层之后梯度大小的倍数。",
        ),
    ),
]  # fmt: skip

GUESS = Text(
    "A network has 25 layers. By which power of ten is the gradient of its first layer smaller "
    "with "
    "sigmoids than with ReLUs and the right weights: 1, 5 or 15?",
    "一个网络有 25 层。用 Sigmoid 时，第一层的梯度比用 ReLU 并选对权重时小多少个数量级：1、5 还是 "
    "15？",
)
