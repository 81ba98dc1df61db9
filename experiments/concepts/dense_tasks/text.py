"""The explanation and the question."""

from experiments.concepts.frame import diagram as d
from experiments.concepts.frame.formula import formula, frac, group, sub, total
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

TITLE = Text("From a class to pixels to boxes", "从类别到像素，再到框")


def _draw(language: str) -> list[str]:
    """A trunk, and behind it three heads."""
    image, trunk, coarse = {
        "en": ("image", "convolutions", "coarse map"), "zh": ("图像", "若干卷积", "粗糙特征图"),
    }[language]  # fmt: skip
    heads = {
        "en": (("mean", "one class"), ("enlarge", "class per pixel"), ("4 sides", "boxes")),
        "zh": (("取平均", "一个类别"), ("放大", "每个像素的类别"), ("四条边", "框")),
    }[language]
    parts = [
        d.label(175, 18, image, "bold"),
        d.arrow(175, 24, 175, 42),
        d.box(115, 42, 120, 30, trunk, "fill a"),
        d.arrow(175, 72, 175, 90),
        d.box(115, 90, 120, 30, coarse),
    ]
    for i, (how, what) in enumerate(heads):
        x = 58 + 117 * i
        parts += [
            d.arrow(175 + 40 * (i - 1), 120, x, 148),
            d.box(x - 50, 148, 100, 30, how, "fill b"),
            d.arrow(x, 178, x, 198),
            d.label(x, 214, what),
        ]
    parts.append(d.curve([(235, 50), (343, 50), (343, 134), (250, 134)], "c dashed"))
    parts.append(d.arrow(250, 134, 196, 150, "c dashed"))
    fine = {"en": "fine maps", "zh": "精细特征图"}[language]
    parts.append(d.label(338, 43, fine, "c", size=13, anchor="end"))
    return parts


HEADS = Diagram(
    350, 224,
    Text(
        "Convolutions make a coarse map of the image. Three heads stand on it: its mean gives one "
        "class; enlarged, and joined with fine maps, it gives a class for each pixel; four sides "
        "at "
        "each place give boxes",
        "若干卷积把图像变成粗糙的特征图，上面有三种输出头：取平均得到一个类别；放大并与精细特征图相"
        "接，"
        "得到每个像素的类别；在每个位置预测四条边，得到框",
    ),
    _draw,
)  # fmt: skip

EXPLAIN: list[Paragraph] = [
    Text(
        "So far the answer was one class for an image. A classifier's last step is a mean over all "
        "places, and then a [[fully connected]] layer. Both are linear, so their order does not "
        "matter: one may as well ask for the class at each place and take the mean afterwards.",
        "到目前为止，对一幅图像的回答都是一个类别。分类网络的最后一步是对所有位置取平均，再接一个"
        "[[fully connected|全连接]]层。两者都是线性的，先后次序无关紧要：也可以先求出每个位置的类"
        "别，再取平均。",
    ),
    formula(
        "W", "(", frac("1", "n"), total("i=1", "n", sub("x", "i")), ")", "+", "b", "=",
        frac("1", "n"), total("i=1", "n", "(W", sub("x", "i"), "+", "b)"),
        caption=Text(
            "x is the coarse map at place i of n. The right side is a 1 × 1 convolution "
            "(Long 2015).",
            "x 是粗糙特征图在第 i 个位置上的值，共 n 个位置。等号右边就是 1 × 1 卷积（Long "
            "2015）。",
        ),
    ),
    HEADS,
    Text(
        "[[segmentation|Segmentation]] makes the map as large as the image again. The coarse map "
        "knows "
        "what is there, for its [[receptive field]] is large, but not where exactly: so the fine "
        "maps "
        "of earlier layers are joined to it (U-Net). [[detection|Detection]] asks each place for "
        "four "
        "numbers more: how far it is from there to the left, top, right and bottom of the digit. "
        "Several places find the same digit, so of boxes that overlap too much only the surest "
        "stays: "
        "that is non-maximum suppression.",
        "[[segmentation|语义分割]]要把特征图重新放大到图像的大小。粗糙特征图的"
        "[[receptive field|感受野]]大，知道那里有什么，却不知道确切的位置，所以要把前面各层的精细特"
        "征图"
        "接上来（U-Net）。[[detection|目标检测]]则让每个位置再给出四个数：从那里到数字的左、上、"
        "右、下"
        "四条边各有多远。好几个位置会找到同一个数字，因此在重叠过多的框中只保留最有把握的一个："
        "这就是非极大值抑制。",
    ),
    formula(
        "IoU", "=", frac(group("|", "A", "∩", "B", "|"), group("|", "A", "∪", "B", "|")),
        caption=Text(
            "Intersection over union of two areas: 1 if they are the same, 0 if they do not touch.",
            "两个区域的交并比：完全重合时为 1，互不相交时为 0。",
        ),
    ),
]  # fmt: skip

GUESS = Text(
    "A network learnt to name single digits and was never told where they are. How many of the "
    "digits' [[pixel|pixels]] in a scene with several digits does it name right: 10, 50 or 90 %?",
    "一个网络只学过识别单个数字，从没有人告诉它数字在哪里。在有好几个数字的场景中，它能判断对多少"
    "数字[[pixel|像素]]：10 %、50 % 还是 90 %？",
)
