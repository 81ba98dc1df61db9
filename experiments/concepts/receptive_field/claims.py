"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim(
        "theory",
        Text(
            "A stack of n layers of 3 sees 1 + 2n positions",
            "核宽为 3 的卷积堆叠 n 层，感受野为 1 + 2n",
        ),
        "[5, 9, 17, 33, 65]",
    ),
    Claim(
        "root",
        Text(
            "The part that is used grows with the square root of the depth (Luo 2016)",
            "真正用到的范围随深度的平方根增长（Luo 2016）",
        ),
        Text("exponent 0.5 ± 0.15", "指数 0.5 ± 0.15"),
    ),
    Claim(
        "small",
        Text("In a deep stack the part that is used is small", "层数多时，真正用到的只占一小部分"),
        Text("32 layers: < 32.5", "32 层：< 32.5"),
    ),
    Claim(
        "guesses",
        Text(
            "A network that does not see the step that matters can only guess",
            "看不到关键时刻的网络只能猜",
        ),
        "50 ± 4 %",
    ),
    Claim(
        "learns",
        Text("A network that sees that step learns the task", "看得到关键时刻的网络能学会"),
        "> 95 %",
    ),
    Claim(
        "wider",
        Text(
            "Four layers of 3 see more with stride 2, or with gaps of 1, 2, 4, 8, than with "
            "neither",
            "四层核宽为 3 的卷积，步幅为 2 或间隔为 1、2、4、8 时看得更远",
        ),
        "9, 31, 31",
    ),
]  # fmt: skip
