"""The explanation and the question."""

from collections.abc import Callable, Sequence

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import formula, frac, group, sub, total
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("Looking inside", "看看网络内部")

_MAPS = (
    ((0.1, 0.6, 0.1), (0.1, 0.6, 0.1), (0.1, 0.6, 0.1)),
    ((0.0, 0.0, 0.0), (0.6, 0.6, 0.6), (0.0, 0.0, 0.0)),
    ((0.6, 0.1, 0.0), (0.1, 0.0, 0.1), (0.0, 0.1, 0.6)),
)
_WEIGHTS = (0.8, 0.3, -0.5)


def _shade(values: Sequence[Sequence[float]]) -> Callable[[int, int], float]:
    return lambda row, column: values[row][column]


def _draw(language: str) -> list[str]:
    """Three maps, each times the mean gradient of it, added to one."""
    maps, slopes, heat = {
        "en": ("maps", "mean gradients", "Grad-CAM"), "zh": ("特征图", "平均梯度", "Grad-CAM"),
    }[language]  # fmt: skip
    cell, parts = 20, [d.label(46, 18, maps, "bold"), d.label(152, 18, slopes, "bold")]
    for i, (shades, weight) in enumerate(zip(_MAPS, _WEIGHTS, strict=True)):
        top = 30 + 74 * i
        parts.append(d.grid(16, top, [[""] * 3] * 3, cell=cell, shade=_shade(shades)))
        parts.append(d.label(152, top + 35, f"× {weight:g}".replace("-", "−"), "b"))
        parts.append(d.arrow(192, top + 30, 240, 134 + 14 * (i - 1)))
    summed = [
        [max(0.0, sum(w * m[r][c] for m, w in zip(_MAPS, _WEIGHTS, strict=True))) for c in range(3)]
        for r in range(3)
    ]
    parts += [
        d.label(286, 92, heat, "bold"),
        d.grid(256, 104, [[""] * 3] * 3, cell=cell, shade=_shade(summed)),
        d.label(286, 190, "ReLU(Σ)", "soft"),
    ]
    return parts


CAM = Diagram(
    350, 252,
    Text(
        "Three feature maps, each multiplied by the mean gradient of the class for it, are added; "
        "what is positive is the Grad-CAM",
        "三张特征图各自乘以类别对它的平均梯度，然后相加；其中为正的部分就是 Grad-CAM",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "Nobody told the network what to look for: training chose the [[weight|weights]]. Three "
        "ways lead inside. The [[kernel|kernels]] of the first layer can be looked at, since their "
        "inputs are pixels. Of every later layer the [[feature map|feature maps]] can, and the "
        "patch of all images at which a map is largest.",
        "没有人告诉网络要找什么：[[weight|权重]]是训练选出来的。有三条路可以看到它的内部。"
        "第一层的[[kernel|卷积核]]可以直接看，因为它的输入就是像素。后面每一层可以看它的"
        "[[feature map|特征图]]，还可以在所有图像中找出使某张特征图取最大值的那一小块。",
    ),
    Text(
        "The third way asks what a decision depends on: its [[gradient]]. Grad-CAM (Selvaraju "
        "2017) "
        "weights each map A of the last convolution by the mean slope of the class's output y:",
        "第三条路问的是判断取决于什么，也就是[[gradient|梯度]]。Grad-CAM（Selvaraju 2017）对最后一"
        "个"
        "卷积层的每张特征图 A，用类别输出 y 对它的平均斜率来加权：",
    ),
    formula(
        sub("α", "k"), "=", frac("1", "n"),
        total("i=1", "n", frac(group("∂", "y"), group("∂", sub("A", "k,i")))),
        caption=Text("The mean over the n places of map k.", "对第 k 张特征图的 n 个位置取平均。"),
    ),
    formula("CAM", "=", "ReLU(", total("k", "", sub("α", "k"), sub("A", "k")), ")"),
    CAM,
    Text(
        "Such a map is easily believed, because it looks right. Adebayo and colleagues (2018) ask "
        "for a check: it has to be another one if the weights are random. So every figure here is "
        "measured with random weights as well.",
        "这样的热力图看上去合理，容易让人相信。Adebayo 等人（2018）要求做一项检验："
        "如果权重是随机的，图也应当不同。所以这里的每个数都用随机权重再测一遍。",
    ),
]  # fmt: skip

GUESS = Text(
    "A digit lies on a black image four times its size. Which share of Grad-CAM lies on the digit: "
    "25 % as chance would have it, or more? And with random weights, before any training?",
    "一个数字放在面积为它四倍的黑色图像上。Grad-CAM 有多大比例落在数字上：像随机那样是 25 %，"
    "还是更多？没有训练过、权重随机时又是多少？",
)
