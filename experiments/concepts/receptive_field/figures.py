"""The tables and the charts."""

import numpy as np

from experiments.concepts.frame.lesson import Chart, Series, Table, Text
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.receptive_field.text import SEEN


def tables(theory, sides, task) -> list[Table]:
    return [
        Table(
            [
                Text("stack", "堆叠"),
                Text("theoretical field", "理论感受野"),
                Text("effective field (95 %)", "有效感受野（95 %）"),
            ],
            [
                [
                    Text(f"{depth} layers of 3", f"{depth} 层核宽 3"),
                    str(theory[depth]),
                    spread(sides[depth]),
                ]
                for depth in theory
            ],
        ),
        Table(
            [
                Text("network", "网络"),
                Text("training accuracy", "训练准确率"),
                Text("test accuracy", "测试准确率"),
                Text("steps", "更新次数"),
            ],
            [
                [
                    Text(f"sees {each['sees']} steps", f"看到 {each['sees']} 步"),
                    percent(each["train"]),
                    percent(each["test"]),
                    spread(each["steps"], digits=0),
                ]
                for each in task
            ],
            Text("The task needs a field of 11.", "这个任务需要 11 步的感受野。"),
        ),
    ]


def charts(theory, sides, values, task) -> list[Chart]:
    curves = {int(depth): np.array(each) for depth, each in values["curves"].items()}
    middle = len(next(iter(curves.values()))) // 2
    place = np.arange(-SEEN, SEEN + 1)
    layers = lambda depth: Text(f"{depth} layers", f"{depth} 层")  # noqa: E731
    return [
        Chart(
            Text("Influence of each input", "各个输入的影响"),
            Text("distance from the middle", "离中心的距离"),
            Text("share of the gradient", "占梯度的份额"),
            [
                Series(layers(d), list(place), [[v] for v in curve[place + middle]])
                for d, curve in curves.items()
            ],
            kind="curve",
        ),
        Chart(
            Text("Fields of stacks", "堆叠的感受野"),
            Text("layers", "层数"),
            Text("positions", "位置数"),
            [
                Series(Text("theoretical", "理论"), list(theory), [[v] for v in theory.values()]),
                Series(Text("effective", "有效"), list(sides), [list(v) for v in sides.values()]),
            ],
            x_scale="log",
            y_scale="log",
        ),
        Chart(
            Text("The sign 10 steps ago", "10 步之前的符号"),
            Text("receptive field (steps)", "感受野（步）"),
            Text("accuracy (%)", "准确率（%）"),
            [
                Series(
                    name,
                    [each["sees"] for each in task],
                    [[100 * v for v in each[part]] for each in task],
                )
                for part, name in (
                    ("train", Text("training", "训练")),
                    ("test", Text("test", "测试")),
                )
            ],
            y_range=(40, 104),
            marks=[("x", values["span"] + 1, Text("needed", "所需"))],
        ),
    ]
