"""What the numbers say."""

import numpy as np

from experiments.concepts.batch_norm.measure import BATCHES, DIVERGED, NORMS, RATES
from experiments.concepts.batch_norm.why_not import WHY_NOT
from experiments.concepts.frame.lesson import (
    Chart,
    Findings,
    Outcome,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.frame.spread import hundredths, sign, spread, versus

NAMES: dict[str, Words] = {
    "none": Text("none", "无"), "batch": Text("batch norm", "批归一化"),
    "group": Text("group norm", "组归一化"), "layer": Text("layer norm", "层归一化"),
}  # fmt: skip
GOOD = 1.9  # a training loss below this has learned something; guessing gives log(10) = 2.30


def read(values) -> Findings:
    losses, gaps = values["losses"], values["gaps"]
    works = {
        norm: [r for r, x in zip(RATES, losses[norm], strict=True) if np.mean(x) < GOOD]
        for norm in NORMS
    }
    highest = {norm: max(rates, default=0.0) for norm, rates in works.items()}
    batch, none = len(works["batch"]), len(works["none"])
    few, many = str(BATCHES[0]), str(BATCHES[-1])
    outcomes = {
        "scale": Outcome(
            f"{np.max(values['change']):.0e}", bool(np.max(values["change"]) < 0.01),
            {"": values["change"]}, why_not=WHY_NOT["scale"](values),
        ),
        "gradient": Outcome(
            spread(values["slope"], digits=3),
            bool(np.all((np.array(values["slope"]) > 0.09) & (np.array(values["slope"]) < 0.11))),
            {"": values["slope"]}, why_not=WHY_NOT["gradient"](values),
        ),
        "higher": Outcome(
            f"{highest['batch']:g} {sign(highest['batch'], highest['none'])} {highest['none']:g}",
            highest["batch"] > highest["none"],
            {NAMES[n]: [highest[n]] for n in ("batch", "none")},
            why_not=WHY_NOT["higher"](values, RATES),
        ),
        "more": Outcome(
            f"{batch} {sign(batch, none)} {none}",
            batch > none,
            {NAMES[n]: [len(works[n])] for n in ("batch", "none")},
            why_not=WHY_NOT["more"](values, RATES),
        ),
        "small": Outcome(
            versus(gaps[few], gaps[many], hundredths),
            bool(np.mean(gaps[few]) > np.mean(gaps[many])),
            {few: gaps[few], many: gaps[many]}, why_not=WHY_NOT["small"](values, few, many),
        ),
        "synced": Outcome(
            f"{values['synced']:.0e}", values["synced"] < 1e-4, {"": [values["synced"]]},
            why_not=WHY_NOT["synced"](values),
        ),
        "apart": Outcome(
            f"{values['local']:.2f}", values["local"] > 0.01, {"": [values["local"]]},
            why_not=WHY_NOT["apart"](values),
        ),
    }  # fmt: skip
    headings = [
        Text("normalisation", "归一化"),
        *(Text(f"loss at rate {r:g}", f"学习率 {r:g} 时的损失") for r in RATES),
    ]
    rows = [[NAMES[norm], *(spread(each, digits=2) for each in losses[norm])] for norm in NORMS]
    caption = Text(
        f"Training loss at the end; {DIVERGED:g} stands for anything larger",
        f"训练结束时的损失；更大的一律记为 {DIVERGED:g}",
    )
    reading = _reading(values, highest, few, many)
    return Findings([Table(headings, rows, caption)], _charts(values), outcomes, reading)


def _charts(values) -> list[Chart]:
    lines = [Series(NAMES[norm], list(RATES), values["losses"][norm]) for norm in NORMS]
    gaps = [values["gaps"][str(size)] for size in BATCHES]
    return [
        Chart(Text("Which learning rates can be used", "哪些学习率可以用"),
              Text("learning rate", "学习率"), Text("training loss", "训练损失"), lines,
              x_scale="log", y_range=(0, 4), marks=[("y", 2.303, Text("guessing", "乱猜"))]),
        Chart(Text("Training and evaluation differ", "训练与评估的差别"),
              Text("batch size", "批量大小"), Text("difference of the losses", "损失之差"),
              [Series("", list(BATCHES), gaps)], x_scale="log"),
    ]  # fmt: skip


def _reading(values, highest, few: str, many: str) -> list[Text]:
    gaps, noise = values["gaps"], values["noise"]

    def top(norm: str, language: str) -> str:
        none = {"en": "none of these", "zh": "都不行"}[language]
        return f"{highest[norm]:g}" if highest[norm] else none

    en, zh = ({norm: top(norm, language) for norm in NORMS} for language in ("en", "zh"))
    return [
        Text(
            f"The highest rate that learnt anything (a loss below {GOOD}): without normalisation "
            f"{en['none']}, with batch norm {en['batch']}, with group norm {en['group']}, with "
            f"layer norm {en['layer']}.",
            f"能学到东西（损失低于 {GOOD}）的最高学习率：不做归一化，{zh['none']}；批归一化，"
            f"{zh['batch']}；组归一化，{zh['group']}；层归一化，{zh['layer']}。",
        ),
        chosen(
            bool(np.mean(gaps[few]) > np.mean(gaps[many])),
            Text(
                f"The price: the mean over a batch of {few} is off by "
                f"{spread(noise[few], digits=2)} deviations, over a batch of {many} by "
                f"{spread(noise[many], digits=2)}. In evaluation, where an example may come alone, "
                "averages kept from training take its place, and the losses differ by "
                f"{spread(gaps[few], digits=2)} and {spread(gaps[many], digits=2)}.",
                f"代价是：批量为 {few} 时，批内均值偏离总体均值 {spread(noise[few], digits=2)} 个标"
                "准差，"
                f"批量为 {many} 时偏离 {spread(noise[many], digits=2)} 个。评估时样本可能单独出现，"
                "只能改用训练时积累的平均值，于是两种损失分别相差 "
                f"{spread(gaps[few], digits=2)} 和 {spread(gaps[many], digits=2)}。",
            ),
            Text(
                f"The losses in training and in evaluation differ by {spread(gaps[few], digits=2)} "
                f"for batches of {few} and by {spread(gaps[many], digits=2)} for {many}.",
                f"训练与评估的损失之差：批量为 {few} 时是 {spread(gaps[few], digits=2)}，"
                f"批量为 {many} 时是 {spread(gaps[many], digits=2)}。",
            ),
        ),
        Text(
            "On several devices a batch lies in pieces: synced, the means are those of the whole "
            f"batch (difference {values['synced']:.0e}); otherwise each device takes its own "
            f"({values['local']:.2f}).",
            "在多个设备上，一个批量被分成几份：同步时用的是整个批量的均值（与单设备相差 "
            f"{values['synced']:.0e}），不同步时各用各的（相差 {values['local']:.2f}）。",
        ),
    ]
