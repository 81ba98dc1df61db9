"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import percent, points, spread
from experiments.concepts.frame.why import by_seed, joined


def _kept(values) -> Text:
    gradient = np.asarray(values["gradient"]["residual"])
    ratio = spread(gradient[:, 0] / gradient[:, -1], digits=2)
    return Text(
        "Each block adds to the signal, which grows, and batch norm behind it divides by its size. "
        f"From the last layer to the first the gradient is multiplied by {ratio}; the rest is the "
        "last layer's own gradient.",
        "每个块都往信号上加一点，信号随之变大，后面的批归一化又除以它的大小。"
        f"从最后一层到第一层，梯度共乘以 {ratio}；其余的差别来自最后一层自己的梯度。",
    )


def _deeper(values, shallow: str, deep: str) -> Text:
    right = values["right"]["plain"]
    seeds = by_seed(values["loss"]["plain"][deep], values["loss"]["plain"][shallow])
    return joined(
        seeds,
        Text(
            "The seeds differ more than the depths, or batch norm alone is enough at this depth. "
            "On "
            f"new curves the shallow network is right in {percent(right[shallow])}, the deep one "
            "in "
            f"{percent(right[deep])}.",
            "各个随机种子之间的差别比深度造成的差别还大，或者在这个深度只靠批归一化就够了。"
            f"在新曲线上，浅的网络准确率为 {percent(right[shallow])}，深的为 "
            f"{percent(right[deep])}。",
        ),
    )


def _better(values, shallow: str, deep: str) -> Text:
    alike = values["alike"]
    seeds = by_seed(values["loss"]["plain"][deep], values["loss"]["residual"][deep])
    return joined(
        seeds,
        Text(
            "A shortcut helps where the gradient's direction is lost. The cosine between the "
            "gradients "
            f"of neighbours in the plain network is {spread(alike['plain'][shallow], digits=2)} "
            "with "
            f"few layers and {spread(alike['plain'][deep], digits=2)} with many.",
            "只有在梯度方向丢失的地方，残差连接才有帮助。普通网络中相邻输入的梯度之间的余弦，"
            f"层数少时是 {spread(alike['plain'][shallow], digits=2)}，"
            f"层数多时是 {spread(alike['plain'][deep], digits=2)}。",
        ),
    )


def _alike(values, shallow: str, deep: str) -> Text:
    few = spread(values["alike"]["plain"][shallow], digits=2)
    seeds = by_seed(values["alike"]["residual"][deep], values["alike"]["plain"][deep])
    return joined(
        seeds,
        Text(
            "The direction is lost with depth, and these networks may not be deep enough. In a "
            "plain "
            f"network of few layers the cosine is {few}.",
            f"方向是随深度逐渐丢失的，这里的网络也许还不够深。层数少的普通网络，余弦是 {few}。",
        ),
    )


def _cut(values, deep: str) -> Text:
    first = np.asarray(values["lost"]["residual"])[:, 0]
    rest = np.asarray(values["lost"]["residual"])[:, 1:].mean(1)
    lost, less = points(first), points(rest)
    return Text(
        f"Without its first block the residual network loses {lost.en}, without one of the others "
        f"{less.en}. The plain one can lose no more than it has: it was right in "
        f"{percent(values['right']['plain'][deep])}, and guessing is right in 10 %.",
        f"去掉第一个块，残差网络的准确率下降 {lost.zh}；去掉其他某一个块，下降 {less.zh}。"
        f"普通网络能下降的也有限：它的准确率是 {percent(values['right']['plain'][deep])}，"
        "而乱猜就有 10 %。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "kept": _kept,
    "deeper": _deeper,
    "better": _better,
    "alike": _alike,
    "cut": _cut,
}
