"""The explanation and the question."""

from experiments.concepts.frame.diagram import arrow, grid, label
from experiments.concepts.frame.formula import formula, group, root, sub, sup, total
from experiments.concepts.frame.lesson import Diagram, Paragraph, Text

SHIFTS = (0, 1, 2)
APART = (1, 2, 3, 4)  # pixels between two that are compared

TITLE = Text("An image is numbers", "图像就是一些数")

_DRAWN = ((0, 9, 1, 0), (0, 8, 0, 0), (1, 9, 0, 0), (2, 9, 3, 0))


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    dark = lambda row, column: 0.06 * _DRAWN[row][column]  # noqa: E731
    return [
        grid(10, 34, [[""] * 4] * 4, cell=28, shade=dark),
        label(66, 22, say("an image", "图像")),
        arrow(132, 90, 172, 90),
        grid(184, 34, _DRAWN, cell=28),
        label(240, 22, say("its numbers", "对应的数")),
        label(66, 170, say("4 wide, 4 high", "宽 4，高 4"), "soft"),
        label(240, 170, say("16 numbers", "16 个数"), "soft"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "A computer knows no images. It has a table of numbers: one for the brightness of every "
        "[[pixel]], or three for its red, green and blue, which are called "
        "[[channel|channels]]. The number of numbers is height times width times channels: 64 "
        "for a digit of ours, 150,528 for a colour photograph of 224x224.",
        "计算机里没有图像，只有一张数表：每个[[pixel|像素]]用一个数表示亮度，"
        "或用红、绿、蓝三个数，它们叫做[[channel|通道]]。数的个数是高乘宽乘通道数："
        "我们的一个数字图像有 64 个数，一张 224x224 的彩色照片有 150,528 个。",
    ),
    formula("n", "=", "H * W * C"),
    Diagram(
        310, 184, Text("An image of 4x4 and its 16 numbers", "4x4 的图像和它的 16 个数"), _draw
    ),
    Text(
        "How far apart are two images? The simplest answer takes them as two long lists of "
        "numbers, and measures the distance between two points:",
        "两张图像相差多少？最简单的办法是把它们当作两串数，计算两点之间的距离：",
    ),
    formula(
        "d",
        "(",
        "x",
        ",",
        "y",
        ")",
        "=",
        root(total("i=1", "n", sup(group("(", sub("x", "i"), "-", sub("y", "i"), ")"), "2"))),
    ),
    Text(
        "This distance alone can name digits, without a network: give each test image the class "
        "of the nearest training image.",
        "只靠这个距离，不用网络也能识别数字：与测试图像最近的那张训练图像是哪一类，就把它归入哪一类。",
    ),
]

GUESS = Text(
    "Move a digit by one pixel to the right. For you it is the same. Is it, as a list of "
    "numbers, nearer to itself before the move, or to a digit of another class?",
    "把一个数字向右移一个像素，对你来说它没变。作为一串数，它是离移动前的自己近，"
    "还是离另一类的数字近？",
)
