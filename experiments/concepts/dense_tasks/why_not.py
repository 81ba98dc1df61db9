"""Why what was expected did not hold, each with a measurement of its own."""

from collections.abc import Callable

import numpy as np

from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.frame.why import by_seed, joined


def _same(values) -> Text:
    return Text(
        f"Rounding: the outputs go up to {values['largest']:.0f}, and the sums are added in "
        "another "
        "order.",
        f"这是舍入误差：输出最大达到 {values['largest']:.0f}，而求和的次序不同。",
    )


def _slid(values) -> Text:
    return Text(
        "It was only asked for a mean, so a place beside a digit may say anything. At the cell "
        f"nearest to a digit's middle {percent(values['centre'])} are right; of images with a "
        f"single digit {percent(values['right'])}.",
        "训练只要求平均值正确，所以数字旁边的位置说什么都行。在最靠近数字中心的格子里，"
        f"{percent(values['centre'])} 是对的；对只有一个数字的图像，准确率是 "
        f"{percent(values['right'])}。",
    )


def _taught(values) -> Text:
    seeds = by_seed(values["coarse_ink"], values["slid"], fractions=True)
    wrong = 1 - np.asarray(values["coarse_ink"]) - np.asarray(values["coarse_blank"])
    return joined(
        seeds,
        Text(
            "The two are not asked the same. The classifier knows no background and chooses among "
            "ten digits; the other one may say background too, which is right nine times in ten, "
            f"and says so of {percent(values['coarse_blank'])} of the digits' pixels. It takes "
            f"{percent(wrong)} of them for another digit, the classifier "
            f"{percent(1 - np.asarray(values['slid']))}.",
            "两者回答的问题并不相同。分类网络不知道背景，只在十个数字中选择；另一个还可以回答背景，"
            "而背景在十次中有九次是对的，于是它把 "
            f"{percent(values['coarse_blank'])} 的数字像素判为背景。它把 {percent(wrong)} "
            "的数字像素认成别的数字，分类网络则认错 "
            f"{percent(1 - np.asarray(values['slid']))}。",
        ),
    )


def _skip(values) -> Text:
    seeds = by_seed(values["fine_iou"], values["coarse_iou"], fractions=True)
    return joined(
        seeds,
        Text(
            "The fine maps help at borders, if training is long enough to use them: there "
            f"{percent(values['fine_border'])} of the pixels are right with them and "
            f"{percent(values['coarse_border'])} without.",
            "精细特征图在边界上有帮助，但要训练得足够久才用得上：边界像素的准确率，接上时是 "
            f"{percent(values['fine_border'])}，不接时是 {percent(values['coarse_border'])}。",
        ),
    )


def _found(values) -> Text:
    return Text(
        f"A box must be in the right place and have the right class. {percent(values['any'])} of "
        "the digits have a box that fits, whatever its class.",
        f"框的位置和类别必须都正确。不论类别，{percent(values['any'])} 的数字有位置合适的框。",
    )


def _single(values) -> Text:
    cells = f"{values['cells_each']:.2f}"
    return Text(
        f"The cells are four pixels apart, and the middles of {cells} of them lie in a digit's box "
        "on average: a network without any error would give as many boxes before suppression. "
        f"After it there are {spread(values['wrong'], digits=2)} wrong boxes for each digit, and "
        f"{percent(values['found'])} of the digits are found.",
        f"格子相距四个像素，平均有 {cells} 个格子的中心落在一个数字的框内：一个毫无差错的网络，"
        "在抑制之前也只会给出这么多框。抑制之后，每个数字有 "
        f"{spread(values['wrong'], digits=2)} 个错误的框，{percent(values['found'])} "
        "的数字被找到。",
    )


WHY_NOT: dict[str, Callable[..., Text]] = {
    "same": _same,
    "slid": _slid,
    "taught": _taught,
    "skip": _skip,
    "found": _found,
    "single": _single,
}
