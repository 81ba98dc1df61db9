"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim(
        "size",
        Text("The formula gives the size that JAX computes", "公式给出的尺寸与 JAX 算出的一致"),
        "100 %",
    ),
    Claim(
        "parameters",
        Text(
            "The formula for the parameters gives the number that Flax makes",
            "参数个数的公式与 Flax 创建的一致",
        ),
        "100 %",
    ),
    Claim(
        "shrinks",
        Text(
            "Without padding, no more than three layers of 3x3 fit onto an image of 8x8",
            "不填充时，8x8 的图像最多放得下三层 3x3 卷积",
        ),
        "8, 6, 4, 2",
    ),
    Claim(
        "work",
        Text("Stride 2 takes a quarter of the work", "步幅为 2 时运算量降为四分之一"),
        "0.25 ± 0.02",
    ),
    Claim(
        "zeros",
        Text(
            "Padded with zeros, the network knows left from right: the border gives it away "
            "(Islam 2020, arXiv:2001.08248)",
            "补零时，网络能分清左右：是边缘泄露了位置（Islam 2020, arXiv:2001.08248）",
        ),
        "> 90 %",
    ),
    Claim(
        "wrapped",
        Text(
            "Without a border, the image wrapped around, it can only guess",
            "没有边缘（首尾相接）时，它只能猜",
        ),
        "50 ± 6 %",
    ),
]  # fmt: skip
