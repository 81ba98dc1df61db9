"""What the numbers say."""

from typing import Any

import numpy as np

from experiments.concepts.frame.lesson import (
    Chart,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Series,
    Table,
    Text,
    chosen,
)
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.output_size.text import PADDINGS


def read(values: dict[str, Any]) -> Findings:
    where = values["where"]
    zeros, wrapped = (np.array(where[name]["test"]) for name in PADDINGS)
    work = {int(stride): count for stride, count in values["work"].items()}
    compared, right = values["parameters"]
    share = work[2] / work[1]
    knows, guesses = zeros.mean() > 0.9, abs(wrapped.mean() - 0.5) <= 0.06
    return Findings(
        tables=[
            Table(
                [Text("compared", "比较"), Text("layers", "层数"), Text("agree", "一致")],
                [
                    [Text("size", "尺寸"), f"{values['compared']:,}", f"{values['agree']:,}"],
                    [Text("parameters", "参数个数"), f"{compared}", f"{right}"],
                ],
            ),
            Table(
                [
                    Text("padding", "填充"),
                    Text("training accuracy", "训练准确率"),
                    Text("test accuracy", "测试准确率"),
                    Text("steps", "更新次数"),
                    Text("training loss", "训练损失"),
                ],
                [
                    [
                        title,
                        percent(where[name]["train"]),
                        percent(where[name]["test"]),
                        spread(where[name]["steps"], digits=0),
                        spread(where[name]["loss"], digits=2),
                    ]
                    for name, title in PADDINGS.items()
                ],
                Text("Left or right?", "左还是右？"),
            ),
        ],
        charts=[
            Images(
                Text("A white image after layers that take the mean", "全白图像经过取平均的层之后"),
                [
                    ImageRow(
                        Text("zeros around it", "四周补零"),
                        values["border"],
                        [Text(f"{n} layers", f"{n} 层") for n in (1, 2, 4)],
                        "heat",
                        0,
                        1,
                    )
                ],
            ),
            Chart(
                Text("Is the digit left or right?", "数字在左还是在右？"),
                Text("padding", "填充"),
                Text("test accuracy (%)", "测试准确率（%）"),
                [Series("", [], [[100 * v for v in where[n]["test"]] for n in PADDINGS])],
                kind="bars",
                categories=list(PADDINGS.values()),
                y_range=(0, 104),
                marks=[("y", 50, Text("guessing", "乱猜"))],
            ),
        ],
        outcomes={
            "size": Outcome(
                f"{100 * values['agree'] / values['compared']:g} %",
                values["agree"] == values["compared"],
            ),
            "parameters": Outcome(f"{100 * right / compared:g} %", right == compared),
            "shrinks": Outcome(
                ", ".join(str(side) for side in values["shrinks"]),
                values["shrinks"] == [8, 6, 4, 2],
            ),
            "work": Outcome(
                f"{share:.3f}",
                abs(share - 0.25) <= 0.02,
                why_not=Text(
                    f"Counted are {work[1]:,} and {work[2]:,} multiply-adds.",
                    f"数得的乘加次数为 {work[1]:,} 和 {work[2]:,}。",
                ),
            ),
            "zeros": _outcome(where["SAME"], bool(knows)),
            "wrapped": _outcome(where["CIRCULAR"], bool(guesses)),
        },
        reading=[
            Text(
                "Sizes are arithmetic: a network that is written down can be checked on paper.",
                "尺寸只是算术：写好的网络可以在纸上核对。",
            ),
            chosen(
                bool(knows and guesses),
                Text(
                    "The same three layers know left from right where there is a border, and do "
                    "not where there is none. Padding is not neutral: it tells a convolution where "
                    "it is.",
                    "同样的三层，有边缘时分得清左右，没有边缘时则不能。填充并不是中性的：它让卷积知"
                    "道自己在哪里。",
                ),
                Text(
                    "How much a border tells a network is in the second table.",
                    "边缘能告诉网络多少，见第二张表。",
                ),
            ),
        ],
    )


def _outcome(each: dict[str, Any], holds: bool) -> Outcome:
    return Outcome(
        percent(each["test"]),
        holds,
        {"": [100 * v for v in each["test"]]},
        "%",
        Text(
            f"After {spread(each['steps'], digits=0)} steps the training loss is "
            f"{spread(each['loss'], digits=2)} (guessing: 0.69) and the training accuracy "
            f"{percent(each['train'])}.",
            f"训练 {spread(each['steps'], digits=0)} 步后，训练损失为 "
            f"{spread(each['loss'], digits=2)}（乱猜为 0.69），训练准确率为 "
            f"{percent(each['train'])}。",
        ),
    )
