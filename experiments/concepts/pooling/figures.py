"""The tables and the charts."""

from experiments.concepts.frame.lesson import Chart, Series, Table, Text
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.pooling.text import HEADS, KINDS, SHIFTS


def of_space(space) -> Table:
    return Table(
        [
            Text("subsampling", "下采样"),
            Text("training accuracy", "训练准确率"),
            Text("test accuracy", "测试准确率"),
            *(Text(f"same answer, shift {s}", f"平移 {s} 后答案不变") for s in (1, 2, 4)),
            Text("steps", "更新次数"),
            Text("multiply-adds", "乘加次数"),
        ],
        [
            [
                title,
                percent(space[kind]["train"]),
                percent(space[kind]["test"][0]),
                *(percent(space[kind]["same"][shift]) for shift in (1, 2, 4)),
                spread(space[kind]["steps"], digits=0),
                f"{space[kind]['multiply_adds']:,}",
            ]
            for kind, title in KINDS.items()
        ],
        Text("In space: digits on 12x12", "空间：12x12 上的数字"),
    )


def of_time(time) -> Table:
    return Table(
        [
            Text("after the convolutions", "卷积之后"),
            Text("training accuracy", "训练准确率"),
            Text("test accuracy", "测试准确率"),
            *(Text(f"same answer, shift {s}", f"平移 {s} 后答案不变") for s in (1, 4)),
            Text("steps", "更新次数"),
        ],
        [
            [
                title,
                percent(time[head]["train"]),
                percent(time[head]["test"][0]),
                *(percent(time[head]["same"][shift]) for shift in (1, 4)),
                spread(time[head]["steps"], digits=0),
            ]
            for head, title in HEADS.items()
        ],
        Text("In time: curves of 40 samples", "时间：40 个样点的曲线"),
    )


def shifts(title: Text, names: dict[str, Text], same) -> Chart:
    return Chart(
        title,
        Text("shift", "平移"),
        Text("same answer (%)", "答案不变（%）"),
        [
            Series(name, SHIFTS, [list(100 * seeds) for seeds in same[key]])
            for key, name in names.items()
        ],
    )


def accuracy(space) -> Chart:
    return Chart(
        Text("Images: accuracy on both sets", "图像：两个集合上的准确率"),
        "",
        Text("accuracy (%)", "准确率（%）"),
        [
            Series(name, [], [[100 * v for v in of(space[kind])] for kind in KINDS])
            for name, of in (
                (Text("training", "训练"), lambda each: each["train"]),
                (Text("test", "测试"), lambda each: each["test"][0]),
            )
        ],
        kind="bars",
        categories=list(KINDS.values()),
        y_range=(0, 104),
    )


def sines(sine) -> Chart:
    kept = range(0, 20, 2)
    return Chart(
        Text("A fast sine, of which every second sample is kept", "快速的正弦波，隔一取一"),
        Text("time (samples)", "时间（样点）"),
        Text("value", "数值"),
        [
            Series(Text("all samples", "全部样点"), range(20), [[v] for v in sine["first"]]),
            Series(Text("every second", "隔一取一"), kept, [[v] for v in sine["kept"]["every"]]),
            Series(Text("mean of two", "两两平均"), kept, [[v] for v in sine["kept"]["mean"]]),
        ],
    )
