"""What the numbers say."""

from typing import Any

import numpy as np

from experiments.concepts.frame.lesson import Findings, Outcome, Text, chosen
from experiments.concepts.frame.spread import above, percent, spread, versus
from experiments.concepts.pooling.figures import accuracy, of_space, of_time, shifts, sines
from experiments.concepts.pooling.text import HEADS, KINDS


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
            versus(same["blurred"][1], same["strided"][1]),
            better("blurred"),
            why_not=compared("blurred"),
        ),
        "max": Outcome(
            versus(same["max"][1], same["strided"][1]), better("max"), why_not=compared("max")
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
            versus(maxima, averages),
            above(maxima, averages),
            {HEADS["max"]: list(100 * maxima), HEADS["mean"]: list(100 * averages)},
            "%",
            _in_time("mean", time),
        ),
    }
    return Findings(
        tables=[of_space(space), of_time(time)],
        charts=[
            shifts(Text("Images: answers that stay the same", "图像：不变的答案"), KINDS, same),
            shifts(Text("Curves: answers that stay the same", "曲线：不变的答案"), HEADS, still),
            accuracy(space),
            sines(sine),
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
