"""Exercise 9: batch norm in training and in evaluation."""

import numpy as np

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text


def _batches() -> list[Case]:
    def case(seed: int, shape: tuple[int, ...], train: bool) -> Case:
        channels = shape[-1]
        x = whole_numbers(seed, *shape, low=-4, high=9)
        scale, shift = np.arange(1.0, channels + 1), np.arange(channels) - 1.0
        mean, variance = np.arange(channels) * 0.5, np.arange(1.0, channels + 1) * 4
        return x, scale, shift, mean, variance, train, 0.9, 0.5

    return [
        case(1, (2, 2, 1, 2), True),
        case(2, (3, 2, 4, 3), True),
        case(3, (2, 2, 1, 2), False),
        case(4, (2, 3, 3, 3), False),
    ]


BATCH_NORM = Function(
    signature="batch_norm(x, scale, shift, mean, variance, train, momentum, epsilon)",
    doc=Text(
        "x [batch, height, width, channels]; all others that are arrays [channels].\n"
        "Training: each channel is brought to mean 0 and deviation 1 by its own mean and variance\n"
        "over the batch (epsilon is added to the variance), and the running mean and variance\n"
        "become momentum * old + (1 - momentum) * those of the batch. Evaluation: the running "
        "ones\n"
        "are used, and stay. Then times scale, plus shift. Return y, mean, variance.",
        "x [批量, 高, 宽, 通道]；其余数组都是 [通道]。\n"
        "训练时：每个通道用自己在整个批量上的均值和方差变成均值 0、标准差 1（方差要加上 "
        "epsilon），\n"
        "滑动均值和滑动方差变成 momentum * 旧值 + (1 - momentum) * 批量的值。\n"
        "评估时：用滑动均值和滑动方差，它们不变。最后乘以 scale，加上 shift。返回 y、mean、"
        "variance。",
    ),
    body="""
        m, v = mean, variance
        if train:
            m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
            mean = momentum * mean + (1 - momentum) * m
            variance = momentum * variance + (1 - momentum) * v
        y = scale * (x - m) / np.sqrt(v + epsilon) + shift
        return y, mean, variance
    """,
    cases=_batches,
    returns=("y", "mean", "variance"),
    mistakes=(
        mistake(
            "The running statistics are used in training: there the batch is normalised by its "
            "own, "
            "and the running ones are only kept for later.",
            "训练时用了滑动统计量：训练时批量用自己的均值和方差归一化，滑动统计量只是留着以后用。",
            (
                "y = scale * (x - m) / np.sqrt(v + epsilon)",
                "y = scale * (x - mean) / np.sqrt(variance + epsilon)",
            ),
        ),
        mistake(
            "The running statistics of before are used in training: the batch is normalised by its "
            "own mean and variance.",
            "训练时用了更新前的滑动统计量：批量应该用自己的均值和方差归一化。",
            (
                "        m, v = mean, variance\n",
                "        m, v = mean, variance\n        old = m, v\n",
            ),
            ("        y = scale", "        m, v = old\n        y = scale"),
        ),
        mistake(
            "The batch's own statistics are used in evaluation: there the running ones count, so "
            "that an image's answer does not depend on its neighbours.",
            "评估时用了批量自己的统计量：评估时应该用滑动统计量，"
            "这样一张图片的结果与同批的其他图片无关。",
            (
                "        y = scale",
                "        m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))\n        y = scale",
            ),
        ),
        mistake(
            "The running statistics change in evaluation too: they change in training alone.",
            "评估时滑动统计量也变了：它们只在训练时更新。",
            (
                "        y = scale",
                "        if not train:\n"
                "            mean = momentum * mean + (1 - momentum) * x.mean((0, 1, 2))\n"
                "            variance = momentum * variance + (1 - momentum) * x.var((0, 1, 2))\n"
                "        y = scale",
            ),
        ),
        mistake(
            "Mean and variance are over the batch alone (axis 0): a channel has one of each, over "
            "batch, height and width: axes (0, 1, 2).",
            "均值和方差只沿批量（第 0 轴）计算：每个通道只有一个，要在批量、高、宽上算，即轴 (0, "
            "1, 2)。",
            ("x.mean((0, 1, 2)), x.var((0, 1, 2))", "x.mean(0), x.var(0)"),
        ),
        mistake(
            "Mean and variance are over the channels: that is layer norm at each position. Each "
            "channel has its own, over axes (0, 1, 2).",
            "均值和方差沿通道计算了，那是逐位置的层归一化。每个通道各算各的，沿轴 (0, 1, 2)。",
            (
                "x.mean((0, 1, 2)), x.var((0, 1, 2))",
                "x.mean(-1, keepdims=True), x.var(-1, keepdims=True)",
            ),
        ),
        mistake(
            "Mean and variance are over height and width alone, for each image: that is instance "
            "norm. The batch (axis 0) belongs to it.",
            "均值和方差只在每张图片的高和宽上计算，那是实例归一化。批量（第 0 轴）也要算在内。",
            (
                "x.mean((0, 1, 2)), x.var((0, 1, 2))",
                "x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)",
            ),
        ),
        mistake(
            "One mean and one variance are taken of all channels together: each channel has its "
            "own.",
            "所有通道共用了一个均值和方差：每个通道应该各有自己的。",
            ("x.mean((0, 1, 2)), x.var((0, 1, 2))", "x.mean() + 0 * mean, x.var() + 0 * mean"),
        ),
        mistake(
            "The momentum is the other way round: most of the old is kept, momentum * old.",
            "动量用反了：大部分应保留旧值，即 momentum * 旧值。",
            ("momentum * mean + (1 - momentum) * m", "(1 - momentum) * mean + momentum * m"),
            (
                "momentum * variance + (1 - momentum) * v",
                "(1 - momentum) * variance + momentum * v",
            ),
        ),
        mistake(
            "The running statistics are replaced by the batch's: they move there by 1 - momentum.",
            "滑动统计量直接换成了批量的值：只应向它移动 1 - momentum。",
            ("momentum * mean + (1 - momentum) * m", "m"),
            ("momentum * variance + (1 - momentum) * v", "v"),
        ),
        mistake(
            "The running statistics are returned as they came in: training updates them.",
            "滑动统计量原样返回了：训练时要更新它们。",
            ("momentum * mean + (1 - momentum) * m", "mean"),
            ("momentum * variance + (1 - momentum) * v", "variance"),
        ),
        mistake(
            "Divided by the variance: the deviation is its square root.",
            "除以了方差：标准差是方差的平方根。",
            ("np.sqrt(v + epsilon)", "(v + epsilon)"),
        ),
        mistake(
            "epsilon is added to the deviation: it is added to the variance, under the root.",
            "epsilon 加在了标准差上：应该加在方差上，在根号里面。",
            ("np.sqrt(v + epsilon)", "(np.sqrt(v) + epsilon)"),
        ),
        mistake(
            "epsilon is missing: it is added to the variance, under the root.",
            "少了 epsilon：它要加在方差上，在根号里面。",
            ("np.sqrt(v + epsilon)", "np.sqrt(v)"),
        ),
        mistake(
            "Scale and shift are missing: the last step is scale * ... + shift.",
            "少了 scale 和 shift：最后一步是 scale * ... + shift。",
            ("scale * (x - m) / np.sqrt(v + epsilon) + shift", "(x - m) / np.sqrt(v + epsilon)"),
        ),
        mistake(
            "The shift is added before the scale: scale first, then shift.",
            "shift 加在了 scale 之前：先乘 scale，再加 shift。",
            (
                "scale * (x - m) / np.sqrt(v + epsilon) + shift",
                "scale * ((x - m) / np.sqrt(v + epsilon) + shift)",
            ),
        ),
        mistake(
            "The variance is divided by n - 1: batch norm divides by n (np.var as it is, without "
            "ddof).",
            "方差除以了 n - 1：批量归一化除以 n（np.var 的默认做法，不用 ddof）。",
            ("x.var((0, 1, 2))", "x.var((0, 1, 2), ddof=1)"),
        ),
    ),
)


EXERCISE = Exercise(
    number=9,
    section="batch_norm",
    title=Text("Batch norm, in training and in evaluation", "批量归一化：训练时和评估时"),
    task=Text(
        "Batch norm does two different things. In training it measures the batch; in evaluation it "
        "uses what it kept of all batches. Mixing them up is a mistake of everyday life: the "
        "network "
        "learns, and then fails.",
        "批量归一化有两种不同的做法：训练时测量当前批量，评估时用以往批量留下的统计量。"
        "把两者弄混是很常见的错误：网络学会了，用起来却不对。",
    ),
    functions=(BATCH_NORM,),
    hints=(
        Text(
            "Channels are the last axis: x.mean((0, 1, 2)) has one mean for each.",
            "通道是最后一个轴：x.mean((0, 1, 2)) 给每个通道一个均值。",
        ),
        Text(
            "Two pairs: (m, v), by which x is normalised now, and (mean, variance), which are "
            "kept. "
            "In evaluation they are the same.",
            "有两对数：(m, v) 用来归一化现在的 x，(mean, variance) 留着以后用。评估时两对相同。",
        ),
    ),
)
