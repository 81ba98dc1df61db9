"""The table and the charts."""

from experiments.concepts.frame.lesson import Chart, Series, Table, Text, Words
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.fully_connected.text import NAMES


def table(fits, values) -> Table:
    rows: list[list[Words]] = [
        [
            Text(f"{data}, {NAMES[name].en}", f"{data}，{NAMES[name].zh}"),
            f"{size:,}",
            percent(each["train"]),
            percent(each["test"]),
            spread(each["steps"], digits=0),
            f"{values['totals'][data][name]['parameters']:,}",
            f"{values['totals'][data][name]['multiply_adds']:,}",
        ]
        for data, two in fits.items()
        for size in next(iter(two.values()))
        for name, each in ((name, two[name][size]) for name in NAMES)
    ]
    return Table(
        [
            Text("network", "网络"),
            Text("examples", "训练样本数"),
            Text("training accuracy", "训练准确率"),
            Text("test accuracy", "测试准确率"),
            Text("steps until loss 0.02", "损失降到 0.02 的更新次数"),
            Text("parameters", "参数量"),
            Text("multiply-adds", "乘加次数"),
        ],
        rows,
    )


def accuracy(data: str, two) -> Chart:
    parts = {"train": Text("training", "训练"), "test": Text("test", "测试")}
    return Chart(
        Text(f"{data}: training and test accuracy", f"{data}：训练与测试准确率"),
        Text("training examples", "训练样本数"),
        Text("accuracy (%)", "准确率（%）"),
        [
            Series(
                Text(f"{NAMES[name].en}, {part.en}", f"{NAMES[name].zh}，{part.zh}"),
                list(two[name]),
                [[100 * v for v in each[key]] for each in two[name].values()],
            )
            for name in NAMES
            for key, part in parts.items()
        ],
        x_scale="log",
    )


def losses(fits) -> Chart:
    """The first seed's losses on both sets, of the fully connected network: overfitting itself."""
    two = fits["mnist1d"]
    series = []
    for name in NAMES:
        points = two[name][max(two[name])]["curve"]
        for place, part in ((1, Text("training", "训练")), (3, Text("test", "测试"))):
            series.append(
                Series(
                    Text(f"{NAMES[name].en}, {part.en}", f"{NAMES[name].zh}，{part.zh}"),
                    [point[0] for point in points],
                    [[point[place]] for point in points],
                )
            )
    return Chart(
        Text("mnist1d: the loss on both sets, one seed", "mnist1d：两个集合上的损失（一个种子）"),
        Text("steps", "更新次数"),
        Text("loss", "损失"),
        series,
        kind="curve",
    )


def gradients(values) -> Chart:
    return Chart(
        Text("The first layer's gradient, untrained", "未训练时首层的梯度"),
        Text("fully connected layers", "全连接层数"),
        Text("log10 of its norm", "范数的 log10"),
        [Series("Sigmoid", [int(d) for d in values["gradients"]],
                list(values["gradients"].values()))],
    )  # fmt: skip
