"""What section 6 explains, claims, and reads from its numbers."""

from typing import Any

import numpy as np

from experiments.concepts.diagram import circle, label, line
from experiments.concepts.formula import formula, group, product, sub, total
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Diagram,
    Findings,
    Outcome,
    Paragraph,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.spread import percent, spread

TITLE = Text("The receptive field", "感受野")
SEEN = 20  # positions on each side of the middle that the chart shows


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    middle, gap = 180, 30
    rows = {30: 0, 84: 1, 138: 2}
    parts = []
    for upper, lower in ((30, 84), (84, 138)):
        for i in range(-rows[upper], rows[upper] + 1):
            for j in (-1, 0, 1):
                kind = "a thick" if (i, j) in ((0, -1), (-1, -1), (0, 1), (1, 1)) else "soft"
                parts.append(line(middle + gap * i, upper, middle + gap * (i + j), lower, kind))
    for y, reach in rows.items():
        parts += [
            circle(middle + gap * i, y, 7, "fill a thick" if abs(i) <= reach else "fill soft")
            for i in range(-4, 5)
        ]
    return [
        *parts,
        label(14, 34, say("1", "1"), "a"),
        label(14, 88, "3", "a"),
        label(14, 142, "5", "a"),
        label(
            180, 172, say("input: 5 of 9 positions are seen", "输入：9 个位置中看到 5 个"), "soft"
        ),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "The [[receptive field]] of a [[unit]] are all inputs that can change it. One layer with a "
        "[[kernel]] of 3 sees 3. A second layer sees 3 of those, which see 5 between them. A stack "
        "of n such layers sees",
        "一个[[unit|单元]]的[[receptive field|感受野]]是能影响它的全部输入。一层核宽为 3 的卷积看到"
        " 3 个输入；第二层看到其中 3 个单元，它们合起来看到 5 个输入。核宽为 3 的卷积堆叠 n 层，感"
        "受野为",
    ),
    formula("r", "=", "1 + 2 n"),
    Diagram(360, 184, Text(
        "Two layers of kernels of 3: one unit sees three units, and these see five inputs",
        "两层核宽为 3 的卷积：一个单元看到三个单元，它们看到五个输入"), _draw),
    Text(
        "With kernels K and [[stride|strides]] s of any size, a layer's window counts in steps of "
        "all strides before it:",
        "核宽 K 和[[stride|步幅]] s 任意时，每层的窗口要以它之前所有步幅之积为单位来计：",
    ),
    formula(
        "r", "=", "1 +", total("l=1", "L", group("(", sub("K", "l"), "- 1 )"),
        product("i=1", "l-1", sub("s", "i"))),
        caption=Text(
            "With gaps between the inputs of a kernel (dilation d), K - 1 becomes d (K - 1).",
            "卷积核的输入之间有间隔时（空洞 d），K - 1 换成 d (K - 1)。",
        ),
    ),
    Text(
        "That is what a unit can see. What it does see much of is another matter: many paths "
        "through the layers lead to the middle of the field, and only one to its edge. The share "
        "of the [[gradient]] that goes to each input tells.",
        "这是它能看到的范围，真正用到多少则是另一回事：穿过各层通往感受野中心的路径很多，"
        "通往边缘的只有一条。[[gradient|梯度]]分给各个输入的份额说明了这一点。",
    ),
    Text(
        "The task: 16 random signs; the label is the sign 10 steps before the last. Four networks "
        "(TCN, kernels of 2, gaps that double) see 3, 7, 15 and 31 steps.",
        "任务：16 个随机的正负号，标签是倒数第 11 个的符号。四个网络（TCN，核宽为 2，间隔逐层加倍）"
        "分别看到 3、7、15、31 步。",
    ),
]  # fmt: skip

GUESS = Text(
    "A stack of 32 layers of 3 sees 65 positions. How many of them make up 95 % of its influence? "
    "And what can a network learn that does not see the step that matters?",
    "核宽为 3 的卷积堆叠 32 层能看到 65 个位置。占影响力 95 % 的有多少个？看不到关键时刻的网络又能"
    "学到什么？",
)

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
            "The part that is used grows with the square root of the depth (Luo 2016),",
            "真正用到的范围随深度的平方根增长（Luo 2016），",
        ),
        Text("exponent 0.5 ± 0.15", "指数 0.5 ± 0.15"),
    ),
    Claim(
        "small",
        Text("so in a deep network it is small", "所以在深层网络里只占一小部分"),
        Text("32 layers: < 32.5", "32 层：< 32.5"),
    ),
    Claim(
        "guesses",
        Text(
            "A network that does not see the step that matters can only guess,",
            "看不到关键时刻的网络只能猜，",
        ),
        "50 ± 4 %",
    ),
    Claim("learns", Text("and one that sees it learns it", "看得到的就能学会"), "> 95 %"),
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


def read(values: dict[str, Any]) -> Findings:
    theory = {int(depth): size for depth, size in values["theory"].items()}
    sides = {int(depth): np.array(each) for depth, each in values["sides"].items()}
    depths = list(theory)
    deep, span = depths[-1], values["span"]
    slopes = np.array(
        [
            np.polyfit(np.log(depths), np.log(of_seed), 1)[0]
            for of_seed in zip(*sides.values(), strict=True)
        ]
    )
    last = float(np.log2(sides[deep].mean() / sides[depths[-2]].mean()))
    task = list(values["task"].values())
    short = [each for each in task if each["sees"] <= span]
    far = [each for each in task if each["sees"] > span]
    wider = [values["wider"][name] for name in ("plain", "strided", "dilated")]
    outcomes = {
        "theory": Outcome(
            str(list(theory.values())), all(theory[depth] == 1 + 2 * depth for depth in depths)
        ),
        "root": Outcome(
            spread(slopes, digits=2),
            bool(abs(slopes.mean() - 0.5) <= 0.15),
            {"": list(slopes)},
            why_not=Text(
                f"The fields are {_fields(sides)}; from {depths[-2]} to {deep} layers alone the "
                f"exponent is {last:.2f}: in shallow stacks the field is bounded by the "
                "theoretical one.",
                f"有效感受野依次为 {_fields(sides)}；只看 {depths[-2]} 到 {deep} 层，"
                f"指数为 {last:.2f}：层数少时，有效感受野受理论感受野所限。",
            ),
        ),
        "small": Outcome(
            spread(sides[deep]),
            bool(sides[deep].max() < theory[deep] / 2),
            {"": list(sides[deep])},
            why_not=Text(
                f"It is {spread(sides[deep])} of {theory[deep]}.",
                f"{theory[deep]} 中占 {spread(sides[deep])}。",
            ),
        ),
        "guesses": Outcome(
            ", ".join(percent(each["test"]) for each in short),
            all(abs(np.mean(each["test"]) - 0.5) < 0.04 for each in short),
            _dots(short),
            "%",
            _losses(short),
        ),
        "learns": Outcome(
            ", ".join(percent(each["test"]) for each in far),
            all(np.mean(each["test"]) > 0.95 for each in far),
            _dots(far),
            "%",
            _losses(far),
        ),
        "wider": Outcome(
            ", ".join(str(each) for each in wider),
            wider == [9, 31, 31],
            why_not=Text(f"They see {wider}.", f"它们看到 {wider}。"),
        ),
    }
    return Findings(
        tables=_tables(theory, sides, task),
        charts=_charts(theory, sides, values, task),
        outcomes=outcomes,
        reading=[
            chosen(
                outcomes["small"].holds,
                Text(
                    "A unit that is connected to an input need not make much use of it: the "
                    "influence has the shape of a bell, far narrower than the field.",
                    "连通不等于充分利用：影响呈钟形，比感受野窄得多。",
                ),
                Text(
                    "How much of its field a unit uses is in the first table.",
                    "单元用到了感受野的多少，见第一张表。",
                ),
            ),
            chosen(
                outcomes["guesses"].holds and outcomes["learns"].holds,
                Text(
                    "What lies outside the field no training can reach; what lies inside was "
                    "learnt. Strides and gaps widen the field faster than depth does.",
                    "感受野之外的东西，怎样训练也学不到；之内的则学会了。步幅和空洞比加深更快地扩大"
                    "感受野。",
                ),
                Text(
                    "What lies outside the field no training can reach. Strides and gaps widen it "
                    "faster than depth does.",
                    "感受野之外的东西，怎样训练也学不到。步幅和空洞比加深更快地扩大感受野。",
                ),
            ),
        ],
    )


def _fields(sides: dict[int, np.ndarray]) -> str:
    return ", ".join(f"{each.mean():.1f}" for each in sides.values())


def _dots(runs: list[dict[str, Any]]) -> dict[Words, list[float]]:
    return {
        Text(f"sees {each['sees']}", f"看到 {each['sees']} 步"): [100 * v for v in each["test"]]
        for each in runs
    }


def _losses(runs: list[dict[str, Any]]) -> Text:
    en = "; ".join(
        f"seeing {each['sees']}: training loss {spread(each['loss'], digits=3)} after "
        f"{spread(each['steps'], digits=0)} steps"
        for each in runs
    )
    zh = "；".join(
        f"看到 {each['sees']} 步的网络训练 {spread(each['steps'], digits=0)} 步后，训练损失为 "
        f"{spread(each['loss'], digits=3)}"
        for each in runs
    )
    return Text(f"Guessing has a loss of 0.693. {en}.", f"乱猜的损失为 0.693。{zh}。")


def _tables(theory, sides, task) -> list[Table]:
    return [
        Table(
            [
                Text("layers of 3", "层数（核宽 3）"),
                Text("theoretical field", "理论感受野"),
                Text("effective field (95 %)", "有效感受野（95 %）"),
            ],
            [[str(depth), str(theory[depth]), spread(sides[depth])] for depth in theory],
        ),
        Table(
            [
                Text("field of the network", "网络的感受野"),
                Text("training accuracy", "训练准确率"),
                Text("test accuracy", "测试准确率"),
                Text("steps", "更新次数"),
            ],
            [
                [
                    str(each["sees"]),
                    percent(each["train"]),
                    percent(each["test"]),
                    spread(each["steps"], digits=0),
                ]
                for each in task
            ],
            Text("The task needs a field of 11.", "这个任务需要 11 步的感受野。"),
        ),
    ]


def _charts(theory, sides, values, task) -> list[Chart]:
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
