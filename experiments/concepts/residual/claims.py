"""What is expected, written down before it was measured."""

import numpy as np

from experiments.concepts.frame.lesson import Claim, Text
from experiments.concepts.residual.measure import DEEP, SHALLOW, layers

HALF_FACTOR = round(DEEP * np.log10(2) / 2, 1)  # decades, see the section on gradients

CLAIMS = [
    Claim("kept", Text(
        f"With batch norm and shortcuts the gradient keeps its size over {layers(DEEP)} layers "
        "(log10 for the first layer)",
        f"有批归一化和残差连接时，梯度经过 {layers(DEEP)} 层大小不变（第一层梯度的 log10）",
    ), f"-{HALF_FACTOR} … {HALF_FACTOR}"),
    Claim("deeper", Text(
        f"A plain network of {layers(DEEP)} layers trains worse than one of {layers(SHALLOW)}: its "
        "training loss is higher (He 2016, figure 1)",
        f"{layers(DEEP)} 层的普通网络比 {layers(SHALLOW)} 层的训练得更差：训练损失更高（He 2016，"
        "图 1）",
    ), Text(f"> {layers(SHALLOW)} layers", f"> {layers(SHALLOW)} 层")),
    Claim("better", Text(
        f"At {layers(DEEP)} layers a residual network trains better than a plain one (training "
        "loss)",
        f"同为 {layers(DEEP)} 层，残差网络比普通网络训练得更好（训练损失）",
    ), Text("< plain", "< 普通网络")),
    Claim("alike", Text(
        "Two inputs that hardly differ give gradients that point the same way, with shortcuts more "
        "than without (cosine)",
        "两个几乎相同的输入，其梯度方向应当一致；有残差连接时比没有时更一致（余弦）",
    ), Text("> plain", "> 普通网络")),
    Claim("cut", Text(
        "A trained residual network survives the loss of one block, a plain one does not: the "
        "accuracy lost is less than half (Veit 2016)",
        "训练好的残差网络去掉一个块仍能工作，普通网络不能：准确率下降的幅度不到普通网络的一半"
        "（Veit 2016）",
    ), Text("< half of the plain one's", "< 普通网络的一半")),
]  # fmt: skip
