"""What is expected, written down before it was measured."""

from experiments.concepts.activations.measure import GOOD
from experiments.concepts.frame.lesson import Claim, Text

ROUNDING = 1e-4  # of the largest logit: float32 has seven digits, a sum of hundreds loses some

CLAIMS = [
    Claim("linear", Text(
        "Without an activation, three layers are one linear layer, which gets 32 % right "
        "(accuracy)",
        "没有激活函数，三层就等于一个线性层，而线性层的准确率是 32 %",
    ), "< 40 %"),
    Claim("matrix", Text(
        "One matrix computes all that the trained network without an activation does (largest "
        "difference, as a share of the largest output)",
        "没有激活函数的网络训练好之后，一个矩阵就能算出它的全部输出（最大差异占最大输出的比例）",
    ), f"< {ROUNDING:g}"),
    Claim("bends", Text(
        "A ReLU network is made of straight pieces, many of them: bends on the way from one "
        "example to another",
        "ReLU 网络由许多直的小段拼成：从一个样本走到另一个样本，途中的转折数",
    ), "> 100"),
    Claim("faster", Text(
        "ReLU learns faster than a sigmoid: accuracy after the same number of steps",
        "ReLU 比 Sigmoid 学得快：更新次数相同时的准确率",
    ), Text("> sigmoid", "> Sigmoid")),
    Claim("modern", Text(
        "The smooth GELU and the bent ReLU differ little (accuracy)",
        "光滑的 GELU 和有折角的 ReLU 差别不大（准确率之差）",
    ), Text("< 5 points", "< 5 个百分点")),
    Claim("dead", Text(
        "Too high a learning rate kills ReLUs: no example activates them any more",
        "学习率过高会使 ReLU 死亡：再没有样本能激活它们",
    ), Text(f"> at rate {GOOD:g}", f"> 学习率为 {GOOD:g} 时")),
    Claim("leaky", Text(
        "A slope below zero keeps them alive: dead leaky ReLUs at the high rate",
        "负半轴有斜率就不会死亡：高学习率下死亡的 leaky ReLU",
    ), "0 %"),
]  # fmt: skip
