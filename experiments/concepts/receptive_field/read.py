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
from experiments.concepts.frame.spread import percent, spread
from experiments.concepts.receptive_field.figures import charts, tables


def read(values: dict[str, Any]) -> Findings:
    theory = {int(depth): size for depth, size in values["theory"].items()}
    # the square is centred on the gradient's centroid, which lies a little beside the unit's place
    sides = {
        int(depth): np.minimum(each, theory[int(depth)]) for depth, each in values["sides"].items()
    }
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
        tables=tables(theory, sides, task),
        charts=charts(theory, sides, values, task),
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
