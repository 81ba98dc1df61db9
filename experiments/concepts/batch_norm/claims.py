"""What is expected, written down before it was measured."""

from experiments.concepts.batch_norm.measure import BATCHES, RATES, SCALE
from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim("scale", Text(
        f"All convolutions' weights times {SCALE:.0f}: with batch norm the outputs stay (largest "
        "change, as a share of the largest output)",
        f"把所有卷积的权重乘以 {SCALE:.0f}：有批归一化时输出不变（最大变化占最大输出的比例）",
    ), "< 0.01"),
    Claim("gradient", Text(
        f"and their gradient is divided by {SCALE:.0f}: larger weights make smaller steps",
        f"而它们的梯度变为原来的 1/{SCALE:.0f}：权重越大，更新就越小",
    ), "0.09 … 0.11"),
    Claim("higher", Text(
        "Batch norm learns at higher rates than no normalisation does (the highest that works)",
        "有批归一化时可以用更高的学习率（能学会的最高学习率）",
    ), Text("> none", "> 无归一化")),
    Claim("more", Text(
        f"and at more of the {len(RATES)} rates", f"而且在 {len(RATES)} 个学习率中能用的更多",
    ), Text("> none", "> 无归一化")),
    Claim("small", Text(
        "A network trained with small batches becomes another function in evaluation (difference "
        "of the losses)",
        "批量很小时，训练出的网络在评估时会变成另一个函数（两种损失之差）",
    ), Text(f"batch of {BATCHES[0]} > batch of {BATCHES[-1]}",
            f"批量为 {BATCHES[0]} > 批量为 {BATCHES[-1]}")),
    Claim("synced", Text(
        "Synced over 8 devices it computes what one device does (largest difference)",
        "在 8 个设备之间同步后，结果与单个设备相同（最大差异）",
    ), "< 0.0001"),
    Claim("apart", Text("and not synced it does not", "不同步则不同"), "> 0.01"),
]  # fmt: skip
