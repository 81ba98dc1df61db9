"""The explanation and the question."""

from experiments.concepts.frame.diagram import arrow, grid, label
from experiments.concepts.frame.formula import formula, frac, sub, total, words
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Pooling, in space and in time", "空间与时间上的池化")
KINDS = {
    "none": Text("none", "不下采样"),
    "strided": Text("stride 2", "步幅 2"),
    "max": Text("max pooling", "最大池化"),
    "mean": Text("mean pooling", "平均池化"),
    "blurred": Text("blur, then every second", "先模糊再隔一取一"),
}
HEADS = {
    "flat": Text("all positions", "全部位置"),
    "mean": Text("mean over time", "对时间取平均"),
    "max": Text("largest over time", "对时间取最大"),
}
SHIFTS = (0, 1, 2, 3, 4)
_DRAWN = ((1, 3, 0, 2), (2, 6, 4, 0), (0, 1, 9, 3), (5, 2, 3, 1))


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    squares = lambda r, c: 0.18 if (r // 2 + c // 2) % 2 == 0 else 0.0  # noqa: E731
    quarter = lambda r, c: 0.18 if (r + c) % 2 == 0 else 0.0  # noqa: E731
    return [
        label(62, 22, say("a feature map", "特征图")),
        grid(10, 34, _DRAWN, cell=26, shade=squares),
        arrow(124, 62, 166, 50),
        arrow(124, 110, 166, 122),
        grid(176, 24, ((6, 4), (5, 9)), cell=26, shade=quarter, kind="a"),
        label(290, 54, say("largest", "最大值"), "a"),
        grid(176, 98, ((3, "1.5"), (2, 4)), cell=26, shade=quarter, kind="b"),
        label(290, 128, say("mean", "平均值"), "b"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "[[subsampling|Subsampling]] makes maps smaller, so that the next layer sees further for "
        "less work. [[pooling|Pooling]] puts one number in the place of each window of 2x2: its "
        "largest or its mean. A [[stride]] of 2 computes only every second output in the first "
        "place.",
        "[[subsampling|下采样]]把特征图变小，下一层就能用更少的计算看得更远。[[pooling|池化]]用一个"
        "数代替每个 2x2 的窗口：最大值或平均值。[[stride|步幅]]为 2 则一开始就只算每隔一个的输出。",
    ),
    formula(
        sub("y", "i,j"), "=", sub(words("max"), "u,v < 2"), sub("x", "2i+u, 2j+v"),
        words(Text("(largest)", "（最大值）")),
    ),
    formula(
        sub("y", "i,j"), "=", frac("1", "4"), total("u,v < 2", "", sub("x", "2i+u, 2j+v")),
        words(Text("(mean)", "（平均值）")),
    ),
    Diagram(340, 156, Text(
        "A map of 4x4 becomes 2x2: the largest of each quarter, or its mean",
        "4x4 的特征图变成 2x2：每个四分之一取最大值或平均值"), _draw),
    Text(
        "Both work along any axis. In time, pooling 2 of 40 samples leaves 20. And pooling over "
        "all positions, the last step of many networks, leaves one number for each [[channel]]: "
        "how strongly its shape occurs, and not where. It turns [[equivariance]] into "
        "[[invariance]].",
        "池化可以沿任何轴进行。在时间上，每 2 个样点池化一次，40 个就变成 20 个。"
        "许多网络最后对全部位置做池化，每个[[channel|通道]]只剩一个数：它的形状出现得有多强，而不管"
        "在哪里。这就把[[equivariance|等变性]]变成了[[invariance|不变性]]。",
    ),
    Text(
        "Keeping every second value has a price that sound engineers know. A sine of f cycles for "
        "each sample, of which every second sample is kept, looks like a sine of",
        "隔一个取一个有代价，做音频的人都知道。每个样点 f 个周期的正弦波，隔一取一之后看起来像频率"
        "为",
    ),
    formula(
        "f '", "=", "|", "2 f", "-", words(Text("round", "取整")), "(", "2 f", ")", "|",
        caption=Text(
            "cycles for each new sample: a fast one becomes a slow one that was never there "
            "(aliasing). A mean of two multiplies its height by cos π f first.",
            "的正弦波（以新的样点计）：快的振动变成了一个并不存在的慢的振动（混叠）。"
            "先两两平均，会先把振幅乘以 cos π f。",
        ),
    ),
    Text(
        "All networks here train until their loss is below 0.1 on the training set. Images and "
        "curves wrap around, so that a shift loses nothing.",
        "这里的网络都训练到训练集上的损失低于 0.1。图像和曲线首尾相接，因此平移不会丢失任何东西。",
    ),
]  # fmt: skip

GUESS = Text(
    "It is often said that pooling and strides make a network insensitive to shifts. Move every "
    "test image by one pixel: how many answers change, without subsampling, with strides, with "
    "pooling?",
    "人们常说池化和步幅让网络对平移不敏感。把每张测试图像移动一个像素：不做下采样、用步幅、用池化"
    "时，各有多少答案会变？",
)
