"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import spread


def _scale(values) -> Text:
    return Text(
        "ε is added to σ²: where a channel hardly varies, it counts. Without batch norm the "
        f"outputs changed by {spread(values['plain'], digits=0)} times the largest.",
        "σ² 上还加了 ε：通道几乎不变化时，它就有影响。没有批归一化时，输出的变化是最大输出的 "
        f"{spread(values['plain'], digits=0)} 倍。",
    )


def _gradient(values) -> Text:
    return Text(
        "Rounding and ε leave a difference; the outputs themselves changed by "
        f"{np.max(values['change']):.0e}.",
        f"差别来自舍入误差和 ε；输出本身的变化是 {np.max(values['change']):.0e}。",
    )


def _rates(values, rates) -> Text:
    """The gradients of the first steps at the highest rate that either can use."""
    parts = {
        norm: [f"{np.nanmean(np.array(each, float)):.2g}" for each in values["gradients"][norm]]
        for norm in ("none", "batch")
    }
    listed = ", ".join(f"{rate:g}" for rate in rates)
    return Text(
        "Batch norm only helps where steps are too long for the plain network, and four layers are "
        f"few. The median gradient of the first 20 steps, at rates {listed}, was "
        f"{', '.join(parts['none'])} without and {', '.join(parts['batch'])} with it.",
        "只有当更新对普通网络来说过大时，批归一化才有帮助，而四层并不多。"
        f"学习率为 {listed} 时，前 20 次更新的梯度中位数，无归一化时是 {', '.join(parts['none'])}，"
        f"有批归一化时是 {', '.join(parts['batch'])}。",
    )


def _small(values, few: str, many: str) -> Text:
    noise = values["noise"]
    return Text(
        "The means of small batches are noisy, but the network can learn to live with it: they "
        f"are off by {spread(noise[few], digits=2)} deviations for {few} examples and by "
        f"{spread(noise[many], digits=2)} for {many}.",
        "批量很小时均值噪声很大，但网络可以学会适应："
        f"批量为 {few} 时偏离 {spread(noise[few], digits=2)} 个标准差，"
        f"批量为 {many} 时偏离 {spread(noise[many], digits=2)} 个。",
    )


def _synced(values) -> Text:
    return Text(
        "The sums are added in another order, which rounds otherwise. Without syncing the "
        f"difference is {values['local']:.2f}.",
        f"求和的顺序不同，舍入也就不同。不同步时的差异是 {values['local']:.2f}。",
    )


def _apart(values) -> Text:
    return Text(
        "The devices had much the same examples: their means lie "
        f"{values['means']:.2f} deviations from that of all.",
        f"各个设备上的样本大致相同：它们的均值与总体均值相差 {values['means']:.2f} 个标准差。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "scale": _scale,
    "gradient": _gradient,
    "higher": _rates,
    "more": _rates,
    "small": _small,
    "synced": _synced,
    "apart": _apart,
}
