"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.frame.why import by_seed, joined, larger


def _smooth(values) -> Text:
    seeds = by_seed(values["smooth"], values["rough"])
    return joined(
        seeds,
        Text(
            "Training changed the filters little, and noise that harms nobody stays: the change is "
            f"{spread(values['moved'], digits=2)} of the size that they began with.",
            "训练对滤波器的改变不大，无害的噪声会保留下来：改变量是初始大小的 "
            f"{spread(values['moved'], digits=2)} 倍。",
        ),
    )


def _looks(values) -> Text:
    return Text(
        "The map has 8 × 8 cells, and a cell of the last layer sees beyond the digit: the sizes of "
        f"that layer's outputs lie within the square to {percent(values['active'])} even with "
        "random weights.",
        "热力图只有 8 × 8 格，最后一层的格子会看到数字以外的地方：即使权重随机，"
        f"该层输出的绝对值也只有 {percent(values['active'])} 落在方框内。",
    )


def _learnt(values) -> Text:
    seeds = by_seed(values["looked"], values["begun"], fractions=True)
    return joined(
        seeds,
        Text(
            "The ground is black, so the layers have something to answer to at the digit alone, "
            "learnt "
            f"or not: with random weights {percent(values['active'])} of all that the last "
            "convolution "
            "puts out lie in the digit's square before any gradient weights it. With a second "
            "thing to "
            f"look at, {percent(values['chosen'])} of Grad-CAM prefer the real digit, and with "
            "random "
            f"weights {percent(values['chosen_random'])}.",
            "背景是黑的，不管学过没有，各层都只有在数字那里才有东西可响应：权重随机时，在用梯度加权"
            "之"
            "前，"
            f"最后一个卷积层的输出就有 {percent(values['active'])} 落在数字方框内。"
            f"旁边另有东西可看时，Grad-CAM 有 {percent(values['chosen'])} 偏向真的数字，随机权重时"
            "是 "
            f"{percent(values['chosen_random'])}。",
        ),
    )


def _chooses(values) -> Text:
    seeds = by_seed(values["chosen"], values["chosen_random"], fractions=True)
    return joined(
        seeds,
        Text(
            f"The network names {percent(values['right_beside'])} of these digits right, so it "
            "does "
            "tell them from their neighbours. Grad-CAM need not show how: a shuffled digit that "
            "speaks "
            "against other classes also counts for the decision.",
            f"网络对这些数字的准确率是 {percent(values['right_beside'])}，可见它分得清真假。"
            "但 Grad-CAM 不一定显示得出来：打乱的数字如果能排除其他类别，对判断也有作用。",
        ),
    )


def _weights(values) -> Text:
    return Text(
        "Both maps lie where the ink is, and that alone makes them alike: "
        f"{percent(values['looked'])} and {percent(values['begun'])} of them are in the digit's "
        "square.",
        f"两张热力图都落在有笔画的地方，仅此就使它们相似：分别有 {percent(values['looked'])} 和 "
        f"{percent(values['begun'])} 落在数字方框内。",
    )


def _hidden(values) -> Text:
    fit = spread(100 * np.asarray(values["looked"]), digits=0)
    seeds = by_seed(values["drops"], values["random"], fractions=True)
    if larger(values["drops"], values["random"]):
        return seeds
    return joined(
        seeds,
        Text(
            "The cells of the map are 2 × 2 pixels and see far around them, so the brightest need "
            "not "
            f"lie on the strokes that matter: {fit} % of the map lie in the square, while the "
            "random "
            "pixels all do.",
            "热力图的一格有 2 × 2 个像素，看到的范围却大得多，所以最亮的格子不一定正好在关键的笔画"
            "上："
            f"热力图有 {fit} % 落在方框内，而随机遮住的像素全在方框内。",
        ),
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "smooth": _smooth,
    "looks": _looks,
    "learnt": _learnt,
    "chooses": _chooses,
    "weights": _weights,
    "hidden": _hidden,
}
