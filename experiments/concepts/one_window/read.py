"""What the numbers say."""

from typing import Any

from experiments.concepts.frame.lesson import (
    Findings,
    ImageRow,
    Images,
    Outcome,
    Table,
    Text,
    chosen,
)
from experiments.concepts.one_window.text import BY_HAND, KERNELS, NAMES


def read(values: dict[str, Any]) -> Findings:
    like, others = (round(each, 2) + 0.0 for each in values["likeness"])  # no -0.00
    return Findings(
        tables=[
            Table(
                [Text("compared", "比较"), Text("largest difference", "最大差别")],
                [
                    [Text("our loop and JAX", "手写循环与 JAX"), f"{values['apart']:.1e}"],
                    [
                        Text("our loop and SciPy, kernel turned", "手写循环与 SciPy（卷积核旋转）"),
                        f"{values['flipped']:.1e}",
                    ],
                    [
                        Text(
                            "our loop and SciPy, kernel as it is", "手写循环与 SciPy（卷积核不转）"
                        ),
                        f"{values['unlike']:.1e}",
                    ],
                    [
                        Text("image moved, map moved", "图像平移，特征图平移"),
                        f"{values['moved']:.1e}",
                    ],
                ],
                Text(
                    "Twenty random images of 12x15; of the third row the smallest of the twenty.",
                    "20 张 12x15 的随机图像；第三行是 20 次中最小的差别。",
                ),
            )
        ],
        charts=[
            Images(
                Text("Four kernels, and what they make of a digit", "四个卷积核及其输出"),
                [
                    ImageRow(
                        Text("kernel", "卷积核"),
                        list(KERNELS.values()),
                        [NAMES[name] for name in KERNELS],
                        "signed",
                    ),
                    ImageRow(Text("image", "图像"), [values["digit"]] * len(KERNELS)),
                    ImageRow(
                        Text("feature map", "特征图"),
                        [values["maps"][name] for name in KERNELS],
                        (),
                        "signed",
                    ),
                ],
            )
        ],
        outcomes={
            "by_hand": Outcome(f"{values['first']:g}", values["first"] == BY_HAND),
            "jax": Outcome(f"{values['apart']:.1e}", values["apart"] < 1e-4),
            "turned": Outcome(
                f"{values['flipped']:.1e}, {values['unlike']:.1e}",
                values["flipped"] < 1e-9 < 0.1 < values["unlike"],
            ),
            "moves": Outcome(
                f"{values['moved']:.1e}",
                values["moved"] < 1e-6,
                why_not=Text(
                    f"The largest difference is {values['moved']:.1e}.",
                    f"最大差别为 {values['moved']:.1e}。",
                ),
            ),
            "likeness": Outcome(
                f"{like:.2f}",
                like > 0.7,
                why_not=Text(
                    f"Their mean cosine is {like:.2f}, against {others:.2f} of all windows: a "
                    "large answer also comes of a bright window, which need not look like the "
                    "kernel.",
                    f"它们的平均余弦为 {like:.2f}，全部窗口为 {others:.2f}："
                    "窗口很亮时输出也大，却未必像卷积核。",
                ),
            ),
        },
        reading=[
            chosen(
                like > 0.7,
                Text(
                    "A [[kernel]] is a question that is asked at every place: how much does this "
                    "window look like me? The [[feature map]] holds the answers.",
                    "[[kernel|卷积核]]就像在每个位置上问同一个问题：这个窗口有多像我？"
                    "[[feature map|特征图]]就是全部的回答。",
                ),
                Text(
                    "A [[kernel]] is a question that is asked at every place: how much does this "
                    "window look like me, and how bright is it? The answer mixes the two; the "
                    "[[feature map]] holds all answers.",
                    "[[kernel|卷积核]]就像在每个位置上问同一个问题：这个窗口有多像我，又有多亮？"
                    "结果把两者混在一起；[[feature map|特征图]]就是全部的回答。",
                ),
            ),
            Text(
                "What deep learning calls a convolution is a cross-correlation: mathematics turns "
                "the kernel around first. As the weights are learnt, it makes no difference which "
                "of the two is computed.",
                "深度学习所说的卷积其实是互相关：数学上的卷积要先把卷积核转半圈。"
                "权重反正是学来的，算哪一种都没有区别。",
            ),
        ],
    )
