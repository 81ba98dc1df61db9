"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.frame.why import by_seed, joined


def _linear(values) -> Text:
    return Text(
        "A linear network was trained better than the one that the 32 % are from: one matrix does "
        f"all that this one does up to {np.max(values['matrix']):.0e} of the largest output.",
        "这个线性网络比得出 32 % 的那一个训练得更好：一个矩阵就能算出它的全部结果，"
        f"误差不超过最大输出的 {np.max(values['matrix']):.0e}。",
    )


def _matrix(values) -> Text:
    return Text(
        "Rounding: the outputs go up to "
        f"{np.max(values['largest']):.0f}, and differences of larger sums remain.",
        f"这是舍入误差：输出最大达到 {np.max(values['largest']):.0f}，是更大的和相减之后剩下的。",
    )


def _bends(values) -> Text:
    off = spread(100 * np.asarray(values["off"]["relu"][0]), digits=0)
    return Text(
        f"Few units change between on and off: {off} % of all of them are off for an example, and "
        f"{percent(values['dead']['relu'][0])} for every one.",
        f"很少有单元在开和关之间切换：对一个样本来说，有 {off} % 的单元是关闭的；"
        f"对所有样本都关闭的有 {percent(values['dead']['relu'][0])}。",
    )


def _faster(values) -> Text:
    early = {n: np.asarray(values["losses"][n])[:, 3].mean() for n in ("relu", "sigmoid")}
    seeds = by_seed(values["right"]["relu"][0], values["right"]["sigmoid"][0], fractions=True)
    return joined(
        seeds,
        Text(
            "Three layers are few, and the sigmoid's small slope costs little here. After 100 "
            "steps "
            f"the losses were {early['relu']:.2f} with ReLU and {early['sigmoid']:.2f} with the "
            "sigmoid.",
            "三层并不多，Sigmoid 斜率小的代价在这里不大。更新 100 次时，ReLU 的损失是 "
            f"{early['relu']:.2f}，Sigmoid 是 {early['sigmoid']:.2f}。",
        ),
    )


def _modern(values) -> Text:
    last = {n: np.asarray(values["losses"][n])[:, -1].mean() for n in ("relu", "gelu")}
    return Text(
        "The number of steps is short, and one learns faster: the last training losses are "
        f"{last['relu']:.2f} with ReLU and {last['gelu']:.2f} with GELU.",
        "更新次数不多，其中一个学得更快：最后的训练损失，ReLU 是 "
        f"{last['relu']:.2f}，GELU 是 {last['gelu']:.2f}。",
    )


def _dead(values) -> Text:
    off = [percent(each) for each in values["off"]["relu"]]
    seeds = by_seed(*values["dead"]["relu"][::-1], fractions=True)
    return joined(
        seeds,
        Text(
            "A unit counts as dead only if it is off everywhere. Off for an example and a position "
            f"were {off[1]} of the units at the high rate and {off[0]} at the good one.",
            "只有处处关闭的单元才算死亡。就单个样本和位置而言，学习率高时有 "
            f"{off[1]} 的单元关闭，学习率合适时有 {off[0]}。",
        ),
    )


def _leaky(values) -> Text:
    return Text(
        "A leaky ReLU's slope is 0.01 at least, so only numbers that are not finite have none: the "
        f"accuracy at that rate was {percent(values['right']['leaky_relu'][1])}.",
        "leaky ReLU 的斜率至少是 0.01，只有数值溢出时才会没有斜率：在这个学习率下准确率是 "
        f"{percent(values['right']['leaky_relu'][1])}。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "linear": _linear,
    "matrix": _matrix,
    "bends": _bends,
    "faster": _faster,
    "modern": _modern,
    "dead": _dead,
    "leaky": _leaky,
}
