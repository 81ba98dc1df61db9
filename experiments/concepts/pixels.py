"""A picture is numbers: how many, how neighbours agree, and what a shift by one pixel does.

python -m experiments.concepts.pixels
"""

from typing import Any

import numpy as np

from experiments.concepts import command
from experiments.concepts.data import digits, on_canvas
from experiments.concepts.diagram import arrow, grid, label
from experiments.concepts.formula import formula, group, root, sub, sup, total
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Concept,
    Diagram,
    Effort,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Series,
    Table,
    Text,
    chosen,
)

SIDE = 12  # of the canvas on which a digit of 8x8 can move by two pixels
SHIFTS = (0, 1, 2)
APART = (1, 2, 3, 4)  # pixels between two that are compared


def measure(effort: Effort) -> dict[str, Any]:
    train, test = (on_canvas(digits(part), SIDE) for part in ("train", "test"))
    seen, labels = _flat(train["image"]), train["label"]
    accuracy, to_itself, to_another = [], [], []
    still = _flat(test["image"])
    for shift in SHIFTS:
        moved = _flat(np.roll(test["image"], shift, 2))  # to the right
        far = _distances(moved, seen)
        accuracy.append((labels[far.argmin(1)] == test["label"]).mean())
        to_itself.append(np.linalg.norm(moved - still, axis=1))
    others = np.where(labels[None] == test["label"][:, None], np.inf, _distances(still, seen))
    to_another = others.min(1)
    image = digits("test")["image"][..., 0]
    order = np.random.default_rng(0).permutation(64)
    mixed = image.reshape(-1, 64)[:, order].reshape(image.shape)
    return {
        "accuracy": accuracy,
        "to_itself": [each.mean() for each in to_itself],
        "to_another": to_another.mean(),
        "farther": [(each > to_another).mean() for each in to_itself],
        "alike": [_correlation(image, apart) for apart in APART],
        "alike_mixed": [_correlation(mixed, apart) for apart in APART],
        "stroke": _runs(image > 0.5),
        "images": [image[0], mixed[0]],
        "moved": [test["image"][0, ..., 0], np.roll(test["image"][0, ..., 0], 1, 1)],
        "numbers": np.round(16 * image[0]).astype(int),
    }


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance of each row of `a` to each of `b`."""
    square = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]
    return np.sqrt(np.maximum(square, 0))


def _correlation(images: np.ndarray, apart: int) -> float:
    """Of pixels in one row that are so far apart, over all images."""
    return float(np.corrcoef(images[:, :, :-apart].ravel(), images[:, :, apart:].ravel())[0, 1])


def _runs(bright: np.ndarray) -> float:
    """The mean length of runs of True along the rows of [N, H, W]."""
    starts = bright & ~np.pad(bright, ((0, 0), (0, 0), (1, 0)))[..., :-1]
    return float(bright.sum() / starts.sum())


def read(values: dict[str, Any]) -> Findings:
    accuracy, farther = ([100 * each for each in values[name]] for name in ("accuracy", "farther"))
    alike, mixed = values["alike"], values["alike_mixed"]
    falls = accuracy[2] < accuracy[0] / 2
    return Findings(
        tables=[
            Table(
                [
                    Text("shift to the right (pixels)", "向右平移（像素）"),
                    Text("distance to itself", "与原图的距离"),
                    Text("farther than the nearest other digit", "比最近的异类图像还远"),
                    Text("nearest neighbour is right", "最近邻判断正确"),
                ],
                [
                    [
                        str(shift),
                        f"{values['to_itself'][i]:.2f}",
                        f"{farther[i]:.1f} %",
                        f"{accuracy[i]:.1f} %",
                    ]
                    for i, shift in enumerate(SHIFTS)
                ],
                Text(
                    "360 test images, compared number by number with 1,437 training images. The "
                    "nearest image of another class is "
                    f"{values['to_another']:.2f} away on average.",
                    "360 张测试图像，逐个数字与 1,437 张训练图像比较。"
                    f"最近的异类图像平均相距 {values['to_another']:.2f}。",
                ),
            )
        ],
        charts=[
            Images(
                Text(
                    "One digit, its numbers in another order, and moved", "同一个数字：打乱与平移"
                ),
                [
                    ImageRow(
                        Text("8x8", "8x8"),
                        values["images"],
                        [Text("as it is", "原图"), Text("shuffled", "打乱")],
                    ),
                    ImageRow(
                        "12x12",
                        values["moved"],
                        [Text("as it is", "原图"), Text("moved by 1", "平移 1 像素")],
                    ),
                    ImageRow(
                        Text("difference", "差"),
                        [
                            np.subtract(values["moved"][1], values["moved"][0]),
                            np.zeros_like(values["moved"][0]),
                        ],
                        [Text("moved", "平移后"), Text("not moved", "未平移")],
                        "signed",
                    ),
                ],
            ),
            Chart(
                Text("Neighbours are alike", "相邻的像素彼此相像"),
                Text("pixels apart", "相距像素数"),
                Text("correlation", "相关系数"),
                [
                    Series(Text("images as they are", "原图"), APART, [[v] for v in alike]),
                    Series(Text("shuffled images", "打乱后"), APART, [[v] for v in mixed]),
                ],
            ),
        ],
        outcomes={
            "neighbours": Outcome(
                f"{alike[0]:.2f}, {alike[3]:.2f}",
                alike[0] > 0.5 and alike[0] > alike[3] + 0.2,
                why_not=Text(
                    f"At distances 1 to 4 the correlation is {_row(alike)}. A stroke is only "
                    f"{values['stroke']:.1f} pixels wide (mean run of pixels brighter than half), "
                    "so in images this small the next pixel is often beyond its edge.",
                    f"相距 1 到 4 时相关系数为 {_row(alike)}。一笔只有 {values['stroke']:.1f} "
                    "个像素宽（亮度过半的连续像素的平均长度），在这样小的图像里，"
                    "相邻的像素常常已经在笔画之外。",
                ),
            ),
            "shuffled": Outcome(
                f"{mixed[0]:.2f}",
                abs(mixed[0]) < alike[0] / 2,
                why_not=Text(
                    f"Shuffled, it is {_row(mixed)} at distances 1 to 4: the order drawn left "
                    "some like numbers side by side, such as those of the black margin.",
                    f"打乱后相距 1 到 4 时为 {_row(mixed)}：抽到的顺序恰好让一些相像的数仍然相邻，"
                    "例如黑色的边缘。",
                ),
            ),
            "nearest": Outcome(f"{accuracy[0]:.1f} %", accuracy[0] > 95),
            "farther": Outcome(
                f"{farther[1]:.1f} %",
                farther[1] > 50,
                why_not=Text(
                    f"Moved by 1, a digit is {values['to_itself'][1]:.2f} from itself, and the "
                    f"nearest other one {values['to_another']:.2f}; moved by 2 it is "
                    f"{values['to_itself'][2]:.2f}.",
                    f"平移 1 像素后与原图相距 {values['to_itself'][1]:.2f}，最近的异类图像相距 "
                    f"{values['to_another']:.2f}；平移 2 像素时为 {values['to_itself'][2]:.2f}。",
                ),
            ),
            "falls": Outcome(
                f"{accuracy[2]:.1f} %",
                falls,
                why_not=Text(
                    f"It falls from {accuracy[0]:.1f} to {accuracy[1]:.1f} % at a shift by 1 and "
                    f"{accuracy[2]:.1f} % at 2.",
                    f"平移 1 像素时由 {accuracy[0]:.1f} 降到 {accuracy[1]:.1f} %，"
                    f"平移 2 像素时为 {accuracy[2]:.1f} %。",
                ),
            ),
        },
        reading=[
            Text(
                "To compare images number by number is to ask whether the same [[pixel]] is "
                "equally bright, and not whether the same shape is there.",
                "逐个数字地比较图像，问的是同一个[[pixel|像素]]是否一样亮，而不是有没有同样的形"
                "状。",
            ),
            chosen(
                falls,
                Text(
                    "A shift by two pixels, which we hardly notice, takes more than half of the "
                    "accuracy away. A network for images should not have to learn every shape anew "
                    "at every place; that is where this lesson leads.",
                    "平移两个像素，人眼几乎察觉不到，准确率却丢掉了一半以上。处理图像的网络不该在每"
                    "个位置把每种形状重学一遍：这正是本讲义要讲的。",
                ),
                Text(
                    "A shift by two pixels costs some accuracy, less than we thought.",
                    "平移两个像素会损失一些准确率，但比我们想的少。",
                ),
            ),
        ],
    )


def _row(values: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in values)


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


CONCEPT = Concept(
    name="pixels",
    title=Text("A picture is numbers", "图像就是一些数"),
    explain=[
        Text(
            "A computer has no picture. It has a table of numbers: one for the brightness of every "
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
            "With it one can already name digits without a network: give each test image the class "
            "of the nearest training image.",
            "有了它，不用网络也能识别数字：测试图像归入与它最近的那张训练图像的类别。",
        ),
    ],
    guess=Text(
        "Move a digit by one pixel to the right. For you it is the same. Is it, as a list of "
        "numbers, nearer to itself before the move, or to a digit of another class?",
        "把一个数字向右移一个像素，对你来说它没变。作为一串数，它是离移动前的自己近，"
        "还是离另一类的数字近？",
    ),
    claims=[
        Claim(
            "neighbours",
            Text(
                "Pixels side by side are alike, more so than pixels four apart",
                "相邻的像素彼此相像，比相距四格的像素更像",
            ),
            Text("> 0.5, and less by 0.2 at distance 4", "> 0.5，相距 4 时小 0.2 以上"),
        ),
        Claim(
            "shuffled",
            Text(
                "Shuffle the pixels of all images in the same way: no number is lost, but "
                "neighbours are no longer alike",
                "把所有图像的像素按同一种方式打乱：一个数也没丢，但相邻的数不再相像",
            ),
            Text("less than half", "不到一半"),
        ),
        Claim(
            "nearest",
            Text(
                "The nearest training image has the right class, if all digits are centred",
                "数字都居中时，最近的训练图像类别正确",
            ),
            "> 95 %",
        ),
        Claim(
            "farther",
            Text(
                "Moved by one pixel, most digits are farther from themselves than from the nearest "
                "digit of another class",
                "平移一个像素后，多数数字离自己比离最近的异类数字还远",
            ),
            "> 50 %",
        ),
        Claim(
            "falls",
            Text(
                "Moved by two pixels, the nearest image is right less than half as often",
                "平移两个像素后，最近邻的正确率不到原来的一半",
            ),
            Text("less than half", "不到一半"),
        ),
    ],
    measure=measure,
    read=read,
    seeded=False,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
