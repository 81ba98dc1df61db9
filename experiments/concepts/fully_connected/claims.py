"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

SETS = ("mnist1d", "digits")


def _claims(data: str) -> list[Claim]:
    return [
        Claim(
            f"better_{data}",
            Text(
                f"{data}: the convolutional network is better on unseen examples",
                f"{data}：卷积网络在没见过的样本上更好",
            ),
            "> 0",
        ),
        Claim(
            f"smaller_{data}",
            Text(
                f"{data}: the convolutional network has fewer parameters",
                f"{data}：卷积网络的参数更少",
            ),
            Text("< fully connected", "< 全连接"),
        ),
        Claim(
            f"overfits_{data}",
            Text(
                f"{data}: the convolutional network overfits less (training minus test accuracy)",
                f"{data}：卷积网络过拟合更轻（训练准确率减测试准确率）",
            ),
            Text("< fully connected", "< 全连接"),
        ),
        Claim(
            f"few_{data}",
            Text(
                f"{data}: with fewer examples both overfit more",
                f"{data}：样本越少，两者的过拟合越重",
            ),
            Text("gap with few > gap with many", "样本少时的差 > 样本多时的差"),
        ),
    ]


CLAIMS = [
    *(claim for data in SETS for claim in _claims(data)),
    Claim(
        "fitted",
        Text("All of these networks fit their training set", "所有这些网络都拟合了自己的训练集"),
        Text("loss < 0.02", "损失 < 0.02"),
    ),
    Claim(
        "cost",
        Text(
            "For a photograph of 224x224, a first layer of 1,000 units has more than a thousand "
            "times the parameters of 64 kernels of 3x3",
            "对 224x224 的照片，1,000 个单元的全连接首层的参数，是 64 个 3x3 卷积核的一千倍以上",
        ),
        "> 1000 x",
    ),
    Claim(
        "gradients",
        Text(
            "With 12 layers and a sigmoid, the first layer's gradient is less than a thousandth of "
            "that with 2",
            "12 层（Sigmoid）时，首层的梯度不到 2 层时的千分之一",
        ),
        "< -3 (log10)",
    ),
    Claim(
        "blind",
        Text(
            "Shuffle the 40 positions, the same way in all examples: the fully connected network "
            "loses less than 3 points",
            "把 40 个位置按同一种方式打乱：全连接网络的准确率变化不到 3 个百分点",
        ),
        "< 3",
    ),
    Claim(
        "sees",
        Text(
            "Shuffled in that way, the convolutional network loses more than 10 points",
            "同样打乱后，卷积网络损失 10 个百分点以上",
        ),
        "> 10",
    ),
]  # fmt: skip
