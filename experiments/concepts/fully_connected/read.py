"""What the numbers say."""

from typing import Any

import numpy as np

from experiments.concepts.frame.lesson import (
    Findings,
    Outcome,
    Text,
    Words,
    chosen,
)
from experiments.concepts.frame.spread import above, percent, sign, spread, versus
from experiments.concepts.fully_connected.figures import accuracy, gradients, losses, table
from experiments.concepts.fully_connected.text import NAMES


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
        tables=[table(fits, values)],
        charts=[*(accuracy(data, fits[data]) for data in fits), losses(fits), gradients(values)],
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
                    "在两个数据集上都见了效：同样的样本，拟合得同样好，卷积网络对新样本判断得更"
                    "准。",
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
        f"smaller_{data}": Outcome(
            f"{sizes[1]:,} {sign(sizes[1], sizes[0])} {sizes[0]:,}", sizes[1] < sizes[0]
        ),
        f"overfits_{data}": Outcome(
            versus(last[1], last[0]),
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
                f"{100 * a.mean():.1f} {sign(a.mean(), b.mean())} {100 * b.mean():.1f}"
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
