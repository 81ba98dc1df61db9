"""One window by hand: nine products and a sum, against JAX's convolution.

python -m experiments.concepts.one_window
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal

from experiments.concepts import command
from experiments.concepts.data import digits, on_canvas
from experiments.concepts.diagram import arrow, box, grid, label
from experiments.concepts.formula import formula, sub, total
from experiments.concepts.lesson import (
    Claim,
    Code,
    Concept,
    Diagram,
    Effort,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Table,
    Text,
)

IMAGE = ((0, 1, 2, 0), (0, 3, 1, 0), (1, 2, 0, 0), (0, 0, 0, 0))
KERNEL = ((1, 0, -1), (1, 0, -1), (1, 0, -1))  # bright on the left, dark on the right
BY_HAND = 0 - 2 + 0 - 1 + 1 - 0  # of the first window: left column minus right column
KERNELS = {
    "vertical": KERNEL,
    "horizontal": ((1, 1, 1), (0, 0, 0), (-1, -1, -1)),
    "blur": ((1 / 9,) * 3,) * 3,
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
}
NAMES = {
    "vertical": Text("vertical edges", "竖直边缘"),
    "horizontal": Text("horizontal edges", "水平边缘"),
    "blur": Text("blur", "模糊"),
    "sharpen": Text("sharpen", "锐化"),
}


def conv2d(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A window at every place: [H, W], [K, K] -> [H - K + 1, W - K + 1]."""
    size = len(w)
    y = np.zeros((x.shape[0] - size + 1, x.shape[1] - size + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + size, j : j + size] * w).sum()
    return y


def _of_jax(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The same by JAX, in float32."""
    images, kernels = (jnp.asarray(each, jnp.float32)[None, None] for each in (x, w))
    return np.array(jax.lax.conv(images, kernels, (1, 1), "VALID")[0, 0])


def measure(effort: Effort) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    apart, flipped, unlike = [], [], []
    for _ in range(20):
        x, w = rng.normal(size=(12, 15)), rng.normal(size=(3, 3))
        ours = conv2d(x, w)
        apart.append(abs(ours - _of_jax(x, w)).max())
        flipped.append(abs(ours - signal.convolve2d(x, w[::-1, ::-1], "valid")).max())
        unlike.append(abs(ours - signal.convolve2d(x, w, "valid")).max())
    image = on_canvas(digits("test"), 12)["image"][:360, ..., 0]
    w = np.array(KERNEL, float)
    moved = [
        abs(conv2d(np.roll(x, 1, 1), w)[:, 1:] - conv2d(x, w)[:, :-1]).max() for x in image[:50]
    ]
    return {
        "first": conv2d(np.array(IMAGE, float), w)[0, 0],
        "map": conv2d(np.array(IMAGE, float), w),
        "apart": max(apart),
        "flipped": max(flipped),
        "unlike": min(unlike),
        "moved": max(moved),
        "likeness": _likeness(image, w),
        "digit": image[3],
        "maps": {name: conv2d(image[3], np.array(k, float)) for name, k in KERNELS.items()},
    }


def _likeness(images: np.ndarray, w: np.ndarray) -> list[float]:
    """Of all windows of the digits: the cosine between window and kernel of the 1 % whose answers
    are largest, and of all that are not empty."""
    windows = np.lib.stride_tricks.sliding_window_view(images, w.shape, (1, 2)).reshape(-1, w.size)
    windows = windows[windows.max(1) > 0]
    answers = windows @ w.ravel()
    cosine = answers / np.linalg.norm(windows, axis=1) / np.linalg.norm(w)
    most = answers >= np.quantile(answers, 0.99)
    return [float(cosine[most].mean()), float(cosine.mean())]


def read(values: dict[str, Any]) -> Findings:
    like, others = values["likeness"]
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
            Text(
                "A [[kernel]] is a question that is asked at every place: how much does this "
                "window look like me? The [[feature map]] holds the answers.",
                "[[kernel|卷积核]]就像在每个位置上问同一个问题：这个窗口有多像我？"
                "[[feature map|特征图]]就是全部的回答。",
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


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    inside = lambda row, column: 0.18 if row < 3 and column < 3 else 0.0  # noqa: E731
    return [
        label(62, 20, say("image", "图像")),
        grid(14, 30, IMAGE, shade=inside),
        box(14, 30, 72, 72, "", "a thick"),
        label(130, 72, "·"),
        label(182, 20, say("kernel", "卷积核")),
        grid(146, 30, [[str(v).replace("-", "−") for v in row] for row in KERNEL], kind="b"),
        arrow(232, 66, 262, 66),
        label(296, 20, say("output", "输出")),
        box(284, 54, 24, 24, str(BY_HAND).replace("-", "−"), "fill c thick"),
        label(160, 146, say("left column − right column", "左列 − 右列"), "soft"),
        label(160, 166, "(0 + 0 + 1) − (2 + 1 + 0) = −2", ""),
    ]


CONCEPT = Concept(
    name="one_window",
    title=Text("One window, by hand", "亲手算一个窗口"),
    explain=[
        Text(
            "A [[convolution]] looks at a small [[window]] of the image, multiplies each number in "
            "it by a [[weight]], and adds the products. Then the window moves on by one, with the "
            "same weights. These weights are the [[kernel]]; the sums make a [[feature map]].",
            "[[convolution|卷积]]每次看图像的一个小[[window|窗口]]，把其中每个数乘以一个"
            "[[weight|权重]]，再把乘积加起来；然后窗口移动一格，权重不变。这组权重就是"
            "[[kernel|卷积核]]，所有的和组成[[feature map|特征图]]。",
        ),
        formula(
            sub("y", "i,j"),
            "=",
            total("u=0", "K-1", total("v=0", "K-1", sub("w", "u,v"), sub("x", "i+u, j+v"))),
            "+ b",
        ),
        Diagram(
            320,
            176,
            Text(
                "A window of 3x3 times a kernel of 3x3 gives one number, minus 2",
                "3x3 的窗口与 3x3 的卷积核相乘求和，得到一个数：负 2",
            ),
            _draw,
        ),
        Text(
            "The kernel in the diagram subtracts the right column from the left one. Where both "
            "are equally bright the answer is 0; at a vertical edge it is large. The [[bias]] b is "
            "added to every answer; here it is 0. In NumPy:",
            "图中的卷积核用左列减去右列：两边一样亮时结果为 0，遇到竖直边缘时结果就大。"
            "[[bias|偏置]] b 加到每个结果上，这里取 0。用 NumPy 写出来：",
        ),
        Code(
            "for i in range(H - K + 1):\n"
            "    for j in range(W - K + 1):\n"
            "        y[i, j] = (x[i:i+K, j:j+K] * w).sum()"
        ),
    ],
    guess=Text(
        "Compute the window in the diagram yourself. Then: which windows of a digit give this "
        "kernel its largest answers?",
        "先自己算一算图中的窗口。再想想：数字图像的哪些窗口会让这个卷积核给出最大的结果？",
    ),
    claims=[
        Claim(
            "by_hand", Text("The window in the diagram gives minus two", "图中的窗口算得负二"), "-2"
        ),
        Claim(
            "jax", Text("The loop computes what JAX does", "手写的循环与 JAX 的结果相同"), "< 1e-4"
        ),
        Claim(
            "turned",
            Text(
                "It is the convolution of mathematics with the kernel turned by half a turn, and "
                "not with the kernel as it is",
                "把卷积核旋转半圈后，它就是数学上的卷积；不旋转则不是",
            ),
            "< 1e-9, > 0.1",
        ),
        Claim(
            "moves",
            Text(
                "If the image moves by one pixel, the map moves along ([[equivariance]])",
                "图像平移一个像素，特征图也跟着平移（[[equivariance|等变性]]）",
            ),
            "< 1e-6",
        ),
        Claim(
            "likeness",
            Text(
                "The windows with the largest answers look like the kernel: the cosine between the "
                "two is high",
                "结果最大的窗口长得像卷积核：两者之间的余弦很高",
            ),
            "> 0.7",
        ),
    ],
    measure=measure,
    read=read,
    seeded=False,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
