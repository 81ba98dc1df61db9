"""What is expected, written down before it was measured."""

import numpy as np

from experiments.concepts.frame.lesson import Claim, Text
from experiments.concepts.gradients.measure import FACTORS

# A factor of two in the variance is a factor of 2^(FACTORS / 2) in the gradient, here in decades. A
# gradient within half of that has rather kept its size than shrunk or grown by such a factor.
HALF_FACTOR = round(FACTORS / 2 * np.log10(2) / 2, 1)

CLAIMS = [
    Claim("sigmoid", Text(
        "Sigmoid: the gradient of the first layer vanishes (its log10)",
        "Sigmoid：第一层的梯度消失（梯度的 log10）",
    ), "< -6"),
    Claim("tanh", Text(
        "tanh: it shrinks far less, since the slope at 0 is 1 (log10)",
        "tanh：缩小得少得多，因为它在 0 处的斜率是 1（log10）",
    ), "-4 … 1"),
    Claim("small", Text(
        f"ReLU halves the signal's square: at variance 1, {FACTORS} layers shrink it by "
        f"2^{FACTORS // 2} (log10)",
        f"ReLU 使信号的平方减半：方差为 1 时，{FACTORS} 层共缩小 2^{FACTORS // 2} 倍（log10）",
    ), f"< -{HALF_FACTOR}"),
    Claim("he", Text(
        "He's variance, 2, keeps its size (log10)", "He 的方差 2 使它大小不变（log10）"
    ),
          f"-{HALF_FACTOR} … {HALF_FACTOR}"),
    Claim("large", Text(
        "At variance 4 it explodes by the same factor (log10)",
        "方差为 4 时，它以同样的倍数爆炸（log10）",
    ), f"> {HALF_FACTOR}"),
    Claim("quarter", Text(
        "A sigmoid layer multiplies the gradient by less than its largest slope",
        "每经过一个 Sigmoid 层，梯度所乘的因子小于它的最大斜率",
    ), "< 0.25"),
    Claim("predicted", Text(
        "The factor of a ReLU layer is √(variance / 2): the largest error for variances 1, 2 and 4",
        "ReLU 层的因子是 √(方差 / 2)：方差取 1、2、4 时的最大误差",
    ), "< 15 %"),
    Claim("stuck", Text(
        f"Where no gradient arrives nothing is learnt: with sigmoids, {FACTORS + 1} layers go on "
        "guessing (loss 2.30)",
        f"梯度传不到的地方什么也学不到：{FACTORS + 1} 层的 Sigmoid 网络一直在乱猜（损失 2.30）",
    ), "> 2.25"),
    Claim("learns", Text(
        "With ReLU and He's variance a network of the same depth learns (loss)",
        "同样深的网络，用 ReLU 和 He 的方差就能学会（损失）",
    ), "< 2"),
]  # fmt: skip
