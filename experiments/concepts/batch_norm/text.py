"""The explanation and the question."""

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import formula, frac, group, root, sup
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Batch normalisation", "批归一化")


def _draw(language: str) -> list[str]:
    """Examples by channels: which numbers share a mean in batch, layer and group norm."""
    names = {"en": ("batch", "layer", "group"), "zh": ("批", "层", "组")}[language]
    channel, example = {"en": ("channels", "examples"), "zh": ("通道", "样本")}[language]
    cell, parts = 20, []
    shaded = (
        lambda row, column: 0.5 * (column == 1),
        lambda row, column: 0.5 * (row == 1),
        lambda row, column: 0.5 * (row == 1 and column < 2),
    )
    for i, (name, inside) in enumerate(zip(names, shaded, strict=True)):
        left = 50 + 104 * i
        parts.append(d.label(left + 2 * cell, 20, name, "bold"))
        parts.append(d.grid(left, 32, [[""] * 4] * 4, cell=cell, shade=inside))
        parts.append(d.label(left + 2 * cell, 132, channel, "soft", size=13))
    parts.append(
        f'<g transform="rotate(-90 36 72)">{d.label(36, 76, example, "soft", size=13)}</g>'
    )
    return parts


SHARED = Diagram(
    350, 142,
    Text(
        "Three grids of examples by channels. Batch norm takes mean and deviation over a column, "
        "one channel of all examples; layer norm over a row, all channels of one example; group "
        "norm over some channels of one example",
        "三张网格，行是样本，列是通道。批归一化在一列上求均值和标准差，即所有样本的同一个通道；"
        "层归一化在一行上求，即一个样本的所有通道；组归一化在一个样本的一部分通道上求",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "A layer has to follow whatever the layers before it do: if their outputs grow, its own "
        "inputs grow. [[batch norm|Batch norm]] (Ioffe and Szegedy 2015) takes that away. It gives "
        "every [[channel]] mean 0 and deviation 1 over the [[batch]] and all positions.",
        "每一层都受前面各层的牵制：前面的输出变大，它的输入也跟着变大。[[batch norm|批归一化]]"
        "（Ioffe 和 Szegedy 2015）消除了这种牵制：它让每个[[channel|通道]]在整个[[batch|批量]]"
        "和所有位置上均值为 0、标准差为 1。",
    ),
    formula(
        "y", "=", "γ", frac(group("x", "-", "μ"), root(group(sup("σ", "2"), "+", "ε"))), "+", "β",
        caption=Text(
            "μ and σ are mean and deviation of the channel in this batch; γ and β are learnt, so "
            "that the layer can choose another size; ε = 0.00001 avoids a division by zero.",
            "μ 和 σ 是该通道在这个批量中的均值和标准差；γ 和 β 通过学习得到，使该层仍可选择别的大"
            "小；"
            "ε = 0.00001 避免除以零。",
        ),
    ),
    SHARED,
    Text(
        "In evaluation an example may come alone, and a mean over one example is no use. So "
        "training keeps a running average of μ and σ, and evaluation uses that. Layer norm and "
        "group norm use one example only: they are the same in training and in evaluation.",
        "评估时样本可能单独出现，对一个样本求均值没有意义。所以训练时要保留 μ 和 σ 的滑动平均，"
        "供评估时使用。层归一化和组归一化只用到一个样本，在训练和评估时完全相同。",
    ),
    Text(
        "Whatever factor c the weights W of a convolution are multiplied by, the division by σ "
        "removes it again; and the slope for W is divided by c.",
        "不管给卷积的权重 W 乘上什么因子 c，除以 σ 时又会消去；而对 W 的斜率则除以 c。",
    ),
    formula("BN(cWx)", "=", "BN(Wx)"),
    formula(
        frac(group("∂", "L"), group("∂", "(cW)")), "=",
        frac("1", "c"), frac(group("∂", "L"), group("∂", "W")),
        caption=Text(
            "After a step that was too long the weights are large, and the next steps are small.",
            "如果某次更新过大，权重就变大，之后的更新便随之变小。",
        ),
    ),
]  # fmt: skip

GUESS = Text(
    "Four convolutions are trained at the [[learning rate|learning rates]] 0.01, 0.1, 1 and 10. "
    "What "
    "is the highest that learns without normalisation, and what with batch norm?",
    "用 0.01、0.1、1 和 10 这四个[[learning rate|学习率]]训练四个卷积层。没有归一化时，能学会的最高"
    "学习率是哪一个？有批归一化时呢？",
)
