"""A section that needs no training."""

from experiments.concepts.frame.diagram import arrow, box, label
from experiments.concepts.frame.formula import formula, frac, sub, sup, total
from experiments.concepts.frame.lesson import (
    Chart,
    Claim,
    Code,
    Concept,
    Diagram,
    Findings,
    ImageRow,
    Images,
    Outcome,
    Series,
    Table,
    Text,
    chosen,
)
from experiments.concepts.frame.spread import percent

WIDE = 14  # columns, more than a phone shows


def draw(language):
    word = Text("input", "输入").in_(language)
    return [box(10, 10, 80, 40, word), arrow(90, 30, 160, 30, "a"), label(200, 35, "3x3")]


def measure(effort):
    return {"accuracy": [[0.9, 0.94, 1.0], [0.5, float("nan"), 0.6]], "map": [[0.0, 1.0], [2, -3]]}


def read(values):
    good, bad = values["accuracy"]
    return Findings(
        tables=[
            Table(
                [Text("network", "网络"), *(f"{i}" for i in range(WIDE))],
                [["a <b> & c", *([percent(good)] * WIDE)], ["d", *([percent(bad)] * WIDE)]],
                Text("A wide table", "一张宽表"),
            )
        ],
        charts=[
            Chart(
                Text("Accuracy", "准确率"), Text("examples", "样本数"), Text("share", "比例"),
                [Series(Text("test set", "测试集"), [10, 100], values["accuracy"])],
                x_scale="log", marks=[("y", 0.5, Text("guessing", "乱猜"))],
            ),
            Chart(
                Text("The same", "同上"), "", "%",
                [Series("a", [], values["accuracy"]), Series("b", [], values["accuracy"])],
                kind="bars", categories=[Text("one", "一"), Text("two", "二")],
            ),
            Images(
                Text("Maps", "特征图"),
                [
                    ImageRow(Text("filters", "滤波器"), [values["map"]] * 2, ["1", "2"], "signed"),
                    ImageRow(Text("heat", "热图"), [values["map"]] * 2, (), "heat",
                             over=[values["map"]] * 2),
                ],
            ),
        ],
        outcomes={
            "so": Outcome(percent(good), True, {Text("good", "好"): good}, "%"),
            "not_so": Outcome(
                percent(bad), False,
                why_not=Text("Because of 7 things.", "因为有 7 件事。"),
            ),
        },
        reading=[chosen(True, Text("It is true.", "这是对的。"), Text("No.", "不对。"))],
    )  # fmt: skip


CONCEPT = Concept(
    name="example",
    title=Text("An example", "一个例子"),
    explain=[
        Text("A [[kernel]] and `x < 1`.", "一个[[kernel|卷积核]]和 `x < 1`。"),
        formula(sub("y", "i"), "=", total("k=0", "K-1", sub("w", "k"), sub("x", "i+k")), "<=",
                frac("1", sup("n", "2")), caption=Text("A sum.", "一个和。")),
        Diagram(300, 60, Text("A box", "一个框"), draw),
        Code("x = 1"),
    ],
    guess=Text("Why?", "为什么？"),
    claims=[
        Claim("so", Text("It is so", "是这样"), "> 1"),
        Claim("not_so", Text("It is not so", "不是这样"), Text("> three", "> 三")),
    ],
    measure=measure,
    read=read,
)  # fmt: skip
