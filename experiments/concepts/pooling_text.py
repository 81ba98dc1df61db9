"""What section 5 explains, claims, and reads from its numbers."""

from typing import Any

import numpy as np

from experiments.concepts.diagram import arrow, grid, label
from experiments.concepts.formula import formula, frac, sub, total, words
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
    chosen,
)
from experiments.concepts.spread import above, percent, spread

TITLE = Text("Pooling, in space and in time", "空间与时间上的池化")
KINDS = {
    "none": Text("none", "不做"),
    "strided": Text("stride 2", "步幅 2"),
    "max": Text("max pooling", "最大池化"),
    "mean": Text("mean pooling", "平均池化"),
    "blurred": Text("blur, then every second", "先模糊再隔一取一"),
}
HEADS = {
    "flat": Text("all positions", "全部位置"),
    "mean": Text("mean over time", "对时间取平均"),
    "max": Text("largest over time", "对时间取最大"),
}
SHIFTS = (0, 1, 2, 3, 4)
_DRAWN = ((1, 3, 0, 2), (2, 6, 4, 0), (0, 1, 9, 3), (5, 2, 3, 1))


def _draw(language: str) -> list[str]:
    say = lambda en, zh: Text(en, zh).in_(language)  # noqa: E731
    squares = lambda r, c: 0.18 if (r // 2 + c // 2) % 2 == 0 else 0.0  # noqa: E731
    quarter = lambda r, c: 0.18 if (r + c) % 2 == 0 else 0.0  # noqa: E731
    return [
        label(62, 22, say("a feature map", "特征图")),
        grid(10, 34, _DRAWN, cell=26, shade=squares),
        arrow(124, 62, 166, 50),
        arrow(124, 110, 166, 122),
        grid(176, 24, ((6, 4), (5, 9)), cell=26, shade=quarter, kind="a"),
        label(290, 54, say("largest", "最大值"), "a"),
        grid(176, 98, ((3, "1.5"), (2, 4)), cell=26, shade=quarter, kind="b"),
        label(290, 128, say("mean", "平均值"), "b"),
    ]


EXPLAIN: list[Paragraph] = [
    Text(
        "[[subsampling|Subsampling]] makes maps smaller, so that the next layer sees further for "
        "less work. [[pooling|Pooling]] puts one number in the place of each window of 2x2: its "
        "largest or its mean. A [[stride]] of 2 computes only every second output in the first "
        "place.",
        "[[subsampling|下采样]]把特征图变小，下一层就能用更少的计算看得更远。[[pooling|池化]]用一个"
        "数代替每个 2x2 的窗口：最大值或平均值。[[stride|步幅]]为 2 则一开始就只算每隔一个的输出。",
    ),
    formula(
        sub("y", "i,j"), "=", sub(words("max"), "u,v < 2"), sub("x", "2i+u, 2j+v"),
        words(Text("or", "或")), sub("y", "i,j"), "=", frac("1", "4"),
        total("u,v < 2", "", sub("x", "2i+u, 2j+v")),
    ),
    Diagram(340, 156, Text(
        "A map of 4x4 becomes 2x2: the largest of each quarter, or its mean",
        "4x4 的特征图变成 2x2：每个四分之一取最大值或平均值"), _draw),
    Text(
        "Both work along any axis. In time, pooling 2 of 40 samples leaves 20. And pooling over "
        "all positions, the last step of many networks, leaves one number for each [[channel]]: "
        "how strongly its shape occurs, and not where. It turns [[equivariance]] into "
        "[[invariance]].",
        "池化可以沿任何轴进行。在时间上，每 2 个样点池化一次，40 个就变成 20 个。"
        "许多网络最后对全部位置做池化，每个[[channel|通道]]只剩一个数：它的形状出现得有多强，而不管"
        "在哪里。这就把[[equivariance|等变性]]变成了[[invariance|不变性]]。",
    ),
    Text(
        "Keeping every second value has a price that sound engineers know. A sine of f cycles for "
        "each sample, of which every second sample is kept, looks like a sine of",
        "隔一个取一个有代价，做音频的人都知道。每个样点 f 个周期的正弦波，隔一取一之后看起来像频率"
        "为",
    ),
    formula(
        "f '", "=", "|", "2 f", "-", words(Text("round", "取整")), "(", "2 f", ")", "|",
        caption=Text(
            "cycles for each new sample: a fast one becomes a slow one that was never there "
            "(aliasing). A mean of two multiplies its height by cos π f first.",
            "的正弦波（以新的样点计）：快的振动变成了一个并不存在的慢的振动（混叠）。"
            "先两两平均，会先把振幅乘以 cos π f。",
        ),
    ),
    Text(
        "All networks here train until their loss is below 0.05 on the training set. Images and "
        "curves wrap around, so that a shift loses nothing.",
        "这里的网络都训练到训练集上的损失低于 0.05。图像和曲线首尾相接，因此平移不会丢失任何东西。",
    ),
]  # fmt: skip

GUESS = Text(
    "It is often said that pooling and strides make a network insensitive to shifts. Move every "
    "test image by one pixel: how many answers change, without subsampling, with strides, with "
    "pooling?",
    "人们常说池化和步幅让网络对平移不敏感。把每张测试图像移动一个像素：不做下采样、用步幅、用池化"
    "时，各有多少答案会变？",
)

CLAIMS = [
    Claim(
        "none",
        Text(
            "Without subsampling, a shift does not change the answer: convolution is equivariant, "
            "and the mean over all positions is invariant",
            "不做下采样时平移不改变答案：卷积是等变的，全局平均是不变的",
        ),
        "100 %",
    ),
    Claim(
        "four",
        Text(
            "A shift by 4, the product of the strides, never changes it",
            "平移 4（两个步幅之积）从不改变答案",
        ),
        "100 %",
    ),
    Claim(
        "strided",
        Text(
            "A shift by 1 changes it if every second value is dropped",
            "每两个值丢弃一个时，平移 1 会改变答案",
        ),
        "< 100 %",
    ),
    Claim(
        "blurred",
        Text("Blurring before dropping values helps", "丢弃之前先模糊会有帮助"),
        Text("> stride 2", "> 步幅 2"),
    ),
    Claim(
        "max",
        Text("Max pooling withstands it better than strides", "最大池化比步幅更经得起平移"),
        Text("> stride 2", "> 步幅 2"),
    ),
    Claim(
        "cheaper",
        Text("Subsampling by strides is several times cheaper", "用步幅做下采样计算量小好几倍"),
        "> 4 x",
    ),
    Claim(
        "alike",
        Text(
            "Trained to the same loss, all five are right equally often, within 3 points",
            "训练到同样的损失后，五种方式的准确率相差不到 3 个百分点",
        ),
        "< 3",
    ),
    Claim(
        "aliasing",
        Text(
            "In time: of a sine of 0.4 cycles, every second sample looks like one of 0.2",
            "在时间上：0.4 周期的正弦波隔一取一，看起来像 0.2 周期",
        ),
        "0.20 ± 0.01",
    ),
    Claim(
        "quieter",
        Text(
            "and a mean of two before makes that false sine a third as high",
            "先两两平均，这个假的正弦波只剩三分之一高",
        ),
        "0.31 ± 0.02",
    ),
    Claim(
        "time_mean",
        Text(
            "A mean or a maximum over all of time does not notice a shift of the curve",
            "对全部时间取平均或取最大，察觉不到曲线的平移",
        ),
        "100 %",
    ),
    Claim(
        "time_flat",
        Text(
            "A layer that is connected to all positions does",
            "与全部位置相连的层则会察觉",
        ),
        Text("< 90 % at shift 4", "平移 4 时 < 90 %"),
    ),
    Claim(
        "time_max",
        Text(
            "The largest over time is right more often than the mean, which thins out a shape that "
            "occurs once",
            "取最大比取平均更准：只出现一次的形状会被平均稀释",
        ),
        Text("> mean", "> 平均"),
    ),
]


def read(values: dict[str, Any]) -> Findings:
    space, time, sine = values["space"], values["time"], values["sine"]
    same = {kind: np.array(space[kind]["same"]) for kind in KINDS}  # [shifts, seeds]
    still = {head: np.array(time[head]["same"]) for head in HEADS}
    right = {kind: 100 * np.array(space[kind]["test"][0]) for kind in KINDS}
    means = [each.mean() for each in right.values()]
    cost = {kind: space[kind]["multiply_adds"] for kind in KINDS}
    strided = percent(same["strided"][1])
    better = lambda kind: above(same[kind][1], same["strided"][1])  # noqa: E731
    by_shift = lambda kind: ", ".join(f"{100 * v.mean():.1f}" for v in same[kind][1:])  # noqa: E731
    compared = lambda kind: Text(  # noqa: E731
        f"At shifts of 1 to 4 the same answer comes in {by_shift(kind)} % of cases, with stride 2 "
        f"in {by_shift('strided')} %.",
        f"平移 1 到 4 时，答案不变的比例为 {by_shift(kind)} %；步幅 2 为 {by_shift('strided')} %。",
    )
    maxima, averages = (np.array(time[head]["test"][0]) for head in ("max", "mean"))
    outcomes = {
        "none": Outcome(percent(same["none"][1]), bool(same["none"][1].min() > 0.999)),
        "four": Outcome(
            percent(np.concatenate([same[kind][4] for kind in KINDS])),
            bool(min(same[kind][4].min() for kind in KINDS) > 0.999),
        ),
        "strided": Outcome(
            strided,
            bool(same["strided"][1].max() < 1),
            why_not=Text(
                f"At shifts of 1 to 4 it is {by_shift('strided')} %.",
                f"平移 1 到 4 时为 {by_shift('strided')} %。",
            ),
        ),
        "blurred": Outcome(
            f"{percent(same['blurred'][1])} > {strided}",
            better("blurred"),
            why_not=compared("blurred"),
        ),
        "max": Outcome(
            f"{percent(same['max'][1])} > {strided}", better("max"), why_not=compared("max")
        ),
        "cheaper": Outcome(
            f"{cost['none'] / cost['strided']:.1f} x", cost["none"] > 4 * cost["strided"]
        ),
        "alike": Outcome(
            f"{max(means) - min(means):.1f}",
            max(means) - min(means) < 3,
            {KINDS[kind]: list(right[kind]) for kind in KINDS},
            "%",
            Text(
                "The training losses at the end are "
                + ", ".join(f"{KINDS[k].en}: {spread(space[k]['loss'], digits=3)}" for k in KINDS)
                + ".",
                "训练结束时的损失："
                + "，".join(f"{KINDS[k].zh} {spread(space[k]['loss'], digits=3)}" for k in KINDS)
                + "。",
            ),
        ),
        "aliasing": Outcome(f"{sine['frequency']:.2f}", abs(sine["frequency"] - 0.2) < 0.01),
        "quieter": Outcome(
            f"{sine['swing']['mean']:.2f}", abs(sine["swing"]["mean"] - 0.31) < 0.02
        ),
        "time_mean": Outcome(
            percent(np.concatenate([still["mean"][4], still["max"][4]])),
            bool(min(still["mean"][4].min(), still["max"][4].min()) > 0.999),
        ),
        "time_flat": Outcome(
            percent(still["flat"][4]),
            bool(still["flat"][4].max() < 0.9),
            why_not=_in_time("flat", time),
        ),
        "time_max": Outcome(
            f"{percent(maxima)} > {percent(averages)}",
            above(maxima, averages),
            {HEADS["max"]: list(100 * maxima), HEADS["mean"]: list(100 * averages)},
            "%",
            _in_time("mean", time),
        ),
    }
    return Findings(
        tables=[_of_space(space), _of_time(time)],
        charts=[
            _shifts(Text("Images: answers that stay the same", "图像：不变的答案"), KINDS, same),
            _shifts(Text("Curves: answers that stay the same", "曲线：不变的答案"), HEADS, still),
            _accuracy(space),
            _sines(sine),
        ],
        outcomes=outcomes,
        reading=_reading(outcomes),
    )


def _in_time(head: str, time) -> Text:
    same = ", ".join(f"{100 * np.mean(v):.1f}" for v in time[head]["same"][1:])
    return Text(
        f"{HEADS[head].en}: after {spread(time[head]['steps'], digits=0)} steps the training loss "
        f"is {spread(time[head]['loss'], digits=2)}; at shifts of 1 to 4, {same} % of answers "
        "stay.",
        f"{HEADS[head].zh}：训练 {spread(time[head]['steps'], digits=0)} 步后训练损失为 "
        f"{spread(time[head]['loss'], digits=2)}；平移 1 到 4 时，{same} % 的答案不变。",
    )


def _reading(outcomes: dict[str, Outcome]) -> list[Text]:
    return [
        Text(
            "A convolution follows a shift exactly: move the image, and the maps move with it. "
            "What breaks this is keeping every second value: after a shift by one pixel it is the "
            "other half that is kept.",
            "卷积会精确地跟随平移：图像移动，特征图随之移动。破坏这一点的是隔一个取一个："
            "平移一个像素，留下的就是另一半。",
        ),
        chosen(
            outcomes["blurred"].holds,
            Text("Blurring first repaired part of it here.", "这里，先模糊弥补了一部分。"),
            Text(
                "That blurring first repairs it could not be told from the noise of the seeds "
                "here.",
                "先模糊能否弥补，这里分辨不出，淹没在种子之间的波动里。",
            ),
        ),
        chosen(
            outcomes["max"].holds,
            Text("So did max pooling.", "最大池化也是。"),
            Text("Nor could it of max pooling.", "最大池化也看不出来。"),
        )
        if outcomes["blurred"].holds == outcomes["max"].holds
        else chosen(
            outcomes["max"].holds,
            Text("Max pooling did.", "最大池化则做到了。"),
            Text("Max pooling did not, clearly.", "最大池化则没有明显的弥补。"),
        ),
        Text(
            "What subsampling buys is less work and a wider view. A network that is to ignore "
            "shifts altogether pools over all positions at the end, in space as in time.",
            "下采样换来的是更少的计算和更大的视野。要让网络完全不理会平移，就在最后对全部位置做池"
            "化，空间和时间都一样。",
        ),
    ]


def _of_space(space) -> Table:
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


def _of_time(time) -> Table:
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


def _shifts(title: Text, names: dict[str, Text], same) -> Chart:
    return Chart(
        title,
        Text("shift", "平移"),
        Text("same answer (%)", "答案不变（%）"),
        [
            Series(name, SHIFTS, [list(100 * seeds) for seeds in same[key]])
            for key, name in names.items()
        ],
    )


def _accuracy(space) -> Chart:
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
        y_range=(80, 101),
    )


def _sines(sine) -> Chart:
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
