"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import spread


def _by_factor(name: str) -> Callable[..., Text]:
    """Whether the layers or the ends of the network are the reason: the factor and the signal."""

    def said(values) -> Text:
        factor = spread(values["factor"][name], digits=2)
        ends = np.asarray(values["signal"][name])
        return Text(
            f"Each layer multiplied the gradient by {factor}; the signal went from "
            f"{ends[:, 0].mean():.2g} behind layer 2 to {ends[:, -1].mean():.2g} behind the last. "
            "The gradient of the first layer's weights is the product of all factors with that "
            "layer's input, and one of these is not what the claim takes it for.",
            f"每层给梯度乘上的因子是 {factor}；信号从第 2 层之后的 {ends[:, 0].mean():.2g} 变为"
            f"最后一层之后的 {ends[:, -1].mean():.2g}。第一层权重的梯度是所有因子与该层输入的乘积，"
            "其中有一项与预期所设想的不同。",
        )

    return said


def _quarter(values) -> Text:
    ends = np.asarray(values["signal"]["sigmoid"])
    return Text(
        "The weights count as well: a sum of 48 products can make up for the slope. The signal's "
        f"root mean square is {ends[:, -1].mean():.2f} behind the last layer.",
        "权重也起作用：48 个乘积之和可以弥补斜率的不足。最后一层之后信号的均方根是 "
        f"{ends[:, -1].mean():.2f}。",
    )


def _predicted(wide: dict[str, float], channels: int) -> Text:
    worst = 100 * max(wide.values())
    return Text(
        "The prediction is an average over many weights, and a layer of 16 channels has few. With "
        f"{channels} channels the largest error is {worst:.0f} %.",
        "预测是对大量权重取平均得到的，而 16 个通道的层权重不多。"
        f"换成 {channels} 个通道，最大误差是 {worst:.0f} %。",
    )


def _stuck(values) -> Text:
    return Text(
        "Only the last layers get a gradient, and they alone can learn something from what random "
        "layers pass on: the first layer's gradient was "
        f"{np.mean(values['first']['sigmoid']):.0e}.",
        "只有最后几层能得到梯度，它们仍能从随机的前几层传来的信号中学到一点东西："
        f"第一层的梯度只有 {np.mean(values['first']['sigmoid']):.0e}。",
    )


def _learns(values) -> Text:
    return Text(
        "The size of the gradient is not all. With the same number of steps 7 layers came to a "
        f"loss of {spread(values['shallow'], digits=2)}: depth makes training slower even where "
        "gradients arrive. The sections on batch norm and on residual connections go on from here.",
        "只有梯度大小合适还不够。更新次数相同时，7 层网络的损失是 "
        f"{spread(values['shallow'], digits=2)}：即使梯度能够传到，深度也会使训练变慢。"
        "后面的批归一化和残差连接两节接着讲这个问题。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    **{name: _by_factor(name) for name in ("sigmoid", "tanh", "small", "he", "large")},
    "quarter": _quarter,
    "predicted": _predicted,
    "stuck": _stuck,
    "learns": _learns,
}
