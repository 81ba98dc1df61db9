"""What the numbers say."""

from typing import Any

import numpy as np

from experiments.concepts.frame.lesson import (
    Chart,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Series,
    Table,
    Text,
    chosen,
)
from experiments.concepts.pixels.text import APART, SHIFTS


def read(values: dict[str, Any]) -> Findings:
    accuracy, farther = ([100 * each for each in values[name]] for name in ("accuracy", "farther"))
    alike, mixed = values["alike"], values["alike_mixed"]
    falls = accuracy[2] < accuracy[0] / 2
    return Findings(
        tables=[
            Table(
                [
                    Text("image", "图像"),
                    Text("distance to itself", "与原图的距离"),
                    Text("farther than the nearest other digit", "比最近的异类图像还远"),
                    Text("nearest neighbour is right", "最近邻判断正确"),
                ],
                [
                    [
                        Text(f"moved by {shift} to the right", f"向右平移 {shift} 像素"),
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
                    "360 张测试图像，逐个像素与 1,437 张训练图像比较。"
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
                "逐个数值地比较图像，问的是同一个[[pixel|像素]]是否一样亮，而不是有没有同样的形"
                "状。",
            ),
            chosen(
                falls,
                Text(
                    "A digit that is moved by two pixels is the same digit to us, and here it "
                    "takes more than half of the accuracy away. A network for images should not "
                    "have to learn every shape anew at every place; that is where this lesson "
                    "leads.",
                    "平移两个像素，在我们看来还是同一个数字，准确率却丢掉了一半以上。处理图像的网络"
                    "不该在每个位置把每种形状重学一遍：这正是本讲义要讲的。",
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
