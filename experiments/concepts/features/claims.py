"""What is expected, written down before it was measured."""

from experiments.concepts.features.measure import AREA, HIDDEN
from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim("smooth", Text(
        "The first filters have become smoother than the random ones they began as (correlation of "
        "neighbouring weights)",
        "第一层的滤波器变得比随机的初始状态更平滑（相邻权重的相关系数）",
    ), Text("> random weights", "> 随机权重")),
    Claim("looks", Text(
        f"The network looks at the digit: more than twice the square's {100 * AREA:.0f} % of "
        "Grad-CAM lies there",
        f"网络看的是数字：Grad-CAM 落在数字方框内的比例超过方框面积（{100 * AREA:.0f} %）的两倍",
    ), f"> {200 * AREA:.0f} %"),
    Claim("learnt", Text(
        "and has learnt to: with random weights Grad-CAM lies there less",
        "而且是学来的：随机权重的 Grad-CAM 较少落在那里",
    ), Text("> random weights", "> 随机权重")),
    Claim("chooses", Text(
        "Beside a digit lies another whose pixels are shuffled: Grad-CAM prefers the real one, "
        "more "
        "than with random weights",
        "数字旁边放一个打乱了像素的数字：与随机权重相比，Grad-CAM 更偏向真的那个",
    ), Text("> random weights", "> 随机权重")),
    Claim("weights", Text(
        "Grad-CAM passes the sanity check of Adebayo 2018: it depends on the weights (correlation "
        "of the maps of trained and of random ones)",
        "Grad-CAM 通过 Adebayo 2018 的检验：它取决于权重（训练后与随机权重的热力图的相关系数）",
    ), "< 0.7"),
    Claim("hidden", Text(
        f"Hiding the {HIDDEN} pixels that Grad-CAM marks most costs more probability than hiding "
        f"{HIDDEN} at random from the digit's square",
        f"遮住 Grad-CAM 标得最亮的 {HIDDEN} 个像素，比从数字方框内随机遮住 {HIDDEN} 个像素更降低正"
        "确类别的概率",
    ), Text("> at random", "> 随机遮挡")),
]  # fmt: skip
