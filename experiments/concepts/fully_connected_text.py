"""What section 1 explains, claims, and reads from its numbers."""

from typing import Any

import numpy as np

from experiments.concepts.diagram import circle, label, line
from experiments.concepts.formula import formula, sub, total
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
from experiments.concepts.spread import above, percent, spread

TITLE = Text("The fully connected network, and its four problems", "全连接网络和它的四个问题")
NAMES = {"dense": Text("fully connected", "全连接"), "conv": Text("convolutional", "卷积")}
SETS = ("mnist1d", "digits")


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    left, right = [40 + 26 * i for i in range(5)], [66 + 26 * i for i in range(3)]
    parts = [line(40, a, 130, b, "soft") for a in left for b in right]
    parts += [line(220, a, 310, b, "a") for b, a in zip(right, left[1:4], strict=True)]
    parts += [line(220, b - 26, 310, b, "a") for b in right]
    parts += [line(220, b + 26, 310, b, "a") for b in right]
    for shift in (0, 180):
        parts += [circle(40 + shift, y) for y in left] + [circle(130 + shift, y) for y in right]
    return [
        *parts,
        label(85, 20, say("fully connected", "全连接")),
        label(265, 20, say("convolution", "卷积"), "a"),
        label(85, 176, say("15 weights", "15 个权重"), "soft"),
        label(265, 176, say("3 weights, shared", "3 个权重，共用"), "a"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "In a [[fully connected]] layer every [[unit]] reads every input, each by a [[weight]] of "
        "its own. With enough units such a network can compute anything a convolution can. What "
        "speaks against it?",
        "[[fully connected|全连接]]层里，每个[[unit|单元]]都读取全部输入，每个输入各有一个"
        "[[weight|权重]]。单元足够多时，卷积能算的它都能算。那么它有什么不好？",
    ),
    formula(sub("y", "j"), "=", "f (", total("i=1", "n", sub("w", "j,i"), sub("x", "i")), "+",
            sub("b", "j"), ")"),
    Diagram(350, 188, Text(
        "Five inputs and three units: fully connected by 15 lines, or by a window of three each",
        "五个输入、三个单元：全连接有 15 条线；卷积每个单元只连三个输入"), _draw),
    Text(
        "Four things. Overfitting: many weights and few examples, and the network learns the "
        "examples by heart. Cost: the number of weights is inputs times units. Gradients: in "
        "deep networks the [[gradient]] fades from layer to layer (section 8). Blindness: the "
        "order of the inputs means nothing to it; that two pixels are neighbours it cannot know.",
        "四点。过拟合：权重多、样本少，网络就把样本背了下来。代价：权重数等于输入数乘单元数。"
        "梯度：网络一深，[[gradient|梯度]]逐层减弱（见第 8 节）。"
        "看不见局部结构：输入的先后次序对它毫无意义，两个像素是否相邻，它无从知道。",
    ),
    Text(
        "Here both networks train until their [[loss]] on the [[training set]] is below 0.02, "
        "and not for a number of steps: both know their examples then, and a difference on the "
        "[[test set]] is not one of unfinished training. All figures of a network show both sets.",
        "这里两种网络都训练到[[training set|训练集]]上的[[loss|损失]]低于 0.02 为止，而不是固定的更"
        "新次数：那时两者都已学会自己的样本，[[test set|测试集]]上的差别就不是因为没训练完。"
        "每个网络都同时给出两个集合上的结果。",
    ),
]  # fmt: skip

GUESS = Text(
    "Both networks name nearly all of their training examples right. By how many points does the "
    "convolutional one do better on examples that it has never seen? And does that depend on how "
    "many examples there are?",
    "两种网络都能认对几乎所有训练样本。在没见过的样本上，卷积网络会高出几个百分点？这与样本多少有关"
    "吗？",
)


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
            Text(f"{data}: it has fewer parameters", f"{data}：而且参数更少"),
            Text("< fully connected", "< 全连接"),
        ),
        Claim(
            f"overfits_{data}",
            Text(
                f"{data}: it overfits less (training accuracy minus test accuracy)",
                f"{data}：过拟合更轻（训练准确率减测试准确率）",
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
        Text("and the convolutional one more than 10", "而卷积网络损失 10 个百分点以上"),
        "> 10",
    ),
]  # fmt: skip


def read(values: dict[str, Any]) -> Findings:
    fits = {
        data: {
            name: {int(size): each for size, each in sizes.items()} for name, sizes in two.items()
        }
        for data, two in values["fits"].items()
    }
    outcomes = {name: o for data in fits for name, o in _of_set(data, fits, values).items()}
    outcomes |= _four_problems(fits, values)
    better = [data for data in fits if outcomes[f"better_{data}"].holds]
    return Findings(
        tables=[_table(fits, values)],
        charts=[*(_accuracy(data, fits[data]) for data in fits), _losses(fits), _gradients(values)],
        outcomes=outcomes,
        reading=[
            Text(
                "A convolution cannot compute most of what a fully connected layer can. So it "
                "needs no examples to rule that out. It has few weights, but uses each at every "
                "position: the arithmetic for each weight is more, not less.",
                "全连接层能算的东西，大多是卷积算不出来的，所以卷积不需要用样本去排除它们。"
                "它的权重少，但每个权重在每个位置都要用到：每个权重对应的计算更多，而不是更少。",
            ),
            chosen(
                len(better) == len(fits),
                Text(
                    "On both sets this paid: with the same examples, fitted equally well, the "
                    "convolutional network knows more about new ones.",
                    "在两个数据集上都见了效：同样的样本，拟合得同样好，卷积网络对新样本知道得更"
                    "多。",
                ),
                Text(
                    "On these sets it did not pay everywhere: see which of the expectations held.",
                    "在这两个数据集上并非处处见效：请看哪些预期成立。",
                ),
            ),
        ],
    )


def _gap(each: dict[str, Any]) -> np.ndarray:
    return np.array(each["train"]) - np.array(each["test"])


def _of_set(data: str, fits, values) -> dict[str, Outcome]:
    dense, conv = (fits[data][name] for name in NAMES)
    least, most = min(dense), max(dense)
    sizes = [values["totals"][data][name]["parameters"] for name in NAMES]
    tests = [np.array(each[most]["test"]) for each in (dense, conv)]
    first, last = ([_gap(each[size]) for each in (dense, conv)] for size in (least, most))
    dots: dict[Words, list[float]] = {
        NAMES[name]: list(100 * t) for name, t in zip(NAMES, tests, strict=True)
    }
    by_size = [
        f"{size}: {100 * (np.mean(conv[size]['test']) - np.mean(dense[size]['test'])):+.1f}"
        for size in dense
    ]
    return {
        f"better_{data}": Outcome(
            f"{100 * (tests[1].mean() - tests[0].mean()):+.1f}",
            above(tests[1], tests[0]),
            dots,
            "%",
            Text(
                f"By number of examples the difference is {', '.join(by_size)} points. All digits "
                "of this set lie in the middle, and one that knows each place for itself can do "
                f"that. With digits anywhere on 12x12 it is {_anywhere(values):+.1f} points.",
                f"按样本数，差别为 {', '.join(by_size)} 个百分点。这个数据集里的数字都在正中，"
                "逐个位置去记也够用。若数字可以在 12x12 的任意位置，"
                f"差别为 {_anywhere(values):+.1f} 个百分点。",
            ),
        ),
        f"smaller_{data}": Outcome(f"{sizes[1]:,} < {sizes[0]:,}", sizes[1] < sizes[0]),
        f"overfits_{data}": Outcome(
            f"{percent(last[1])} < {percent(last[0])}",
            above(last[0], last[1]),
            why_not=Text(
                f"With {least} examples the gaps are {percent(first[1])} and {percent(first[0])}: "
                f"with {most} there is little left to tell apart with {len(last[0])} seeds.",
                f"{least} 个样本时两者之差为 {percent(first[1])} 和 {percent(first[0])}；"
                f"{most} 个样本时差别已小到 {len(last[0])} 个种子分不出来。",
            ),
        ),
        f"few_{data}": Outcome(
            ", ".join(
                f"{100 * a.mean():.1f} > {100 * b.mean():.1f}"
                for a, b in zip(first, last, strict=True)
            ),
            all(above(a, b) for a, b in zip(first, last, strict=True)),
            why_not=Text(
                f"The gaps with few examples are {percent(first[0])} (fully connected) and "
                f"{percent(first[1])}, and with many {percent(last[0])} and {percent(last[1])}.",
                f"样本少时，差为 {percent(first[0])}（全连接）和 {percent(first[1])}；"
                f"样本多时为 {percent(last[0])} 和 {percent(last[1])}。",
            ),
        ),
    }


def _anywhere(values) -> float:
    """Points by which the convolutional network is better with digits at any place."""
    dense, conv = (np.mean(values["anywhere"][name]) for name in NAMES)
    return float(100 * (conv - dense))


def _four_problems(fits, values) -> dict[str, Outcome]:
    runs = [each for two in fits.values() for sizes in two.values() for each in sizes.values()]
    losses = np.array([loss for each in runs for loss in each["losses"]], float)
    photo = values["photograph"]
    logs = {int(depth): np.array(each) for depth, each in values["gradients"].items()}
    falls = logs[max(logs)] - logs[min(logs)]
    lost = {
        name: 100 * (np.array(fits["mnist1d"][name][max(fits["mnist1d"][name])]["test"])
                     - np.array(values["shuffled"][name]))
        for name in NAMES
    }  # fmt: skip
    return {
        "fitted": Outcome(
            f"{losses.max():.3f}",
            bool(losses.max() < 0.02),
            why_not=Text(
                f"{(losses >= 0.02).sum()} of {len(losses)} stopped at the highest number of "
                f"steps, the worst with a loss of {losses.max():.3f}.",
                f"{len(losses)} 个中有 {(losses >= 0.02).sum()} 个在更新次数用完时停下，"
                f"最差的损失为 {losses.max():.3f}。",
            ),
        ),
        "cost": Outcome(
            f"{photo['dense']:,} / {photo['conv']:,}", photo["dense"] > 1000 * photo["conv"]
        ),
        "gradients": Outcome(
            spread(falls),
            bool(falls.mean() < -3),
            why_not=Text(
                f"The log10 of the gradient is {spread(logs[min(logs)])} with {min(logs)} layers "
                f"and {spread(logs[max(logs)])} with {max(logs)}.",
                f"{min(logs)} 层时梯度的 log10 为 {spread(logs[min(logs)])}，"
                f"{max(logs)} 层时为 {spread(logs[max(logs)])}。",
            ),
        ),
        "blind": Outcome(
            spread(lost["dense"]),
            bool(abs(lost["dense"].mean()) < 3),
            why_not=Text(
                f"In order and shuffled its seeds differ by {spread(lost['dense'])} points.",
                f"打乱前后，各种子相差 {spread(lost['dense'])} 个百分点。",
            ),
        ),
        "sees": Outcome(
            spread(lost["conv"]),
            bool(lost["conv"].mean() > 10),
            why_not=Text(
                f"It loses {spread(lost['conv'])} points.",
                f"损失 {spread(lost['conv'])} 个百分点。",
            ),
        ),
    }


def _table(fits, values) -> Table:
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


def _accuracy(data: str, two) -> Chart:
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


def _losses(fits) -> Chart:
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


def _gradients(values) -> Chart:
    return Chart(
        Text("The first layer's gradient, untrained", "未训练时首层的梯度"),
        Text("fully connected layers", "全连接层数"),
        Text("log10 of its norm", "范数的 log10"),
        [Series("Sigmoid", [int(d) for d in values["gradients"]],
                list(values["gradients"].values()))],
    )  # fmt: skip
