"""What the numbers say."""

import numpy as np

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
from experiments.concepts.frame.spread import above, hundredths, percent, points, spread, versus
from experiments.concepts.residual.claims import HALF_FACTOR
from experiments.concepts.residual.measure import DEEP, DEPTHS, PLAIN, RESIDUAL, SHALLOW, layers
from experiments.concepts.residual.why_not import WHY_NOT

NAMES: dict[str, Words] = {PLAIN: Text("plain", "普通"), RESIDUAL: Text("residual", "残差")}


def read(values) -> Findings:
    size = np.log10(values["first"][RESIDUAL])
    loss, right, lost = values["loss"], values["right"], values["lost"]
    shallow, deep = str(SHALLOW), str(DEEP)
    plain, residual = loss[PLAIN], loss[RESIDUAL]
    alike = {name: values["alike"][name][deep] for name in NAMES}
    mean_lost = {name: np.mean(lost[name], 1).tolist() for name in NAMES}
    outcomes = {
        "kept": Outcome(
            spread(size, digits=2), bool(abs(size.mean()) < HALF_FACTOR),
            {NAMES[RESIDUAL]: size.tolist()}, why_not=WHY_NOT["kept"](values),
        ),
        "deeper": Outcome(
            versus(plain[deep], plain[shallow], hundredths),
            above(plain[deep], plain[shallow]),
            {_layers(DEEP): plain[deep], _layers(SHALLOW): plain[shallow]},
            why_not=WHY_NOT["deeper"](values, shallow, deep),
        ),
        "better": Outcome(
            versus(residual[deep], plain[deep], hundredths),
            above(plain[deep], residual[deep]),
            {NAMES[name]: loss[name][deep] for name in (RESIDUAL, PLAIN)},
            why_not=WHY_NOT["better"](values, shallow, deep),
        ),
        "alike": Outcome(
            versus(alike[RESIDUAL], alike[PLAIN], hundredths),
            above(alike[RESIDUAL], alike[PLAIN]),
            {NAMES[name]: alike[name] for name in (RESIDUAL, PLAIN)},
            why_not=WHY_NOT["alike"](values, shallow, deep),
        ),
        "cut": Outcome(
            versus(mean_lost[RESIDUAL], np.divide(mean_lost[PLAIN], 2)),
            bool(np.mean(mean_lost[RESIDUAL]) < np.mean(mean_lost[PLAIN]) / 2),
            {NAMES[name]: [100 * x for x in mean_lost[name]] for name in (RESIDUAL, PLAIN)}, "%",
            WHY_NOT["cut"](values, deep),
        ),
    }  # fmt: skip
    table = Table(
        [Text("network", "网络"), Text("layers", "层数"), Text("training loss", "训练损失"),
         Text("test accuracy", "测试准确率"),
         Text("accuracy lost without one block", "去掉一个块后准确率的下降")],
        [
            [NAMES[name], str(layers(blocks)), spread(loss[name][str(blocks)], digits=2),
             percent(right[name][str(blocks)]), percent(mean_lost[name]) if blocks == DEEP else ""]
            for name in NAMES for blocks in DEPTHS[name]
        ],
        Text("All with batch norm, after the same number of steps",
             "都有批归一化，更新次数相同"),
    )  # fmt: skip
    return Findings([table], _charts(values), outcomes, _reading(values, outcomes, mean_lost))


def _layers(blocks: int) -> Text:
    return Text(f"{layers(blocks)} layers", f"{layers(blocks)} 层")


def _charts(values) -> list[Chart]:
    losses = [
        Series(
            name,
            [layers(blocks) for blocks in DEPTHS[key]],
            [values["loss"][key][str(blocks)] for blocks in DEPTHS[key]],
        )
        for key, name in NAMES.items()
    ]
    lost = [
        Series(name, list(range(1, DEEP + 1)), (100 * np.transpose(values["lost"][key])).tolist())
        for key, name in NAMES.items()
    ]
    return [
        Chart(Text("Depth and training loss", "深度与训练损失"), Text("layers", "层数"),
              Text("training loss", "训练损失"), losses),
        Chart(Text("One block removed after training", "训练之后去掉一个块"),
              Text("number of the block", "块的编号"),
              Text("accuracy lost (%)", "损失的准确率（%）"), lost),
    ]  # fmt: skip


def _reading(values, outcomes, lost) -> list[Text]:
    every = np.asarray(values["lost"][RESIDUAL])  # [seeds, blocks]
    first, later = every[:, 0], every[:, DEEP // 2 :].mean(1)
    best = {name: percent(values["right"][name][str(DEEP)]) for name in NAMES}
    logs = {name: np.log10(values["first"][name]) for name in NAMES}
    sizes = {name: spread(log, digits=1) for name, log in logs.items()}
    near = abs(logs[PLAIN].mean() - logs[RESIDUAL].mean()) < HALF_FACTOR
    mean = {name: points(lost[name]) for name in NAMES}
    one, late = points(first), points(later)
    return [
        Text(
            f"With {layers(DEEP)} layers the plain network names {best[PLAIN]} of new curves "
            "right, "
            f"the residual one {best[RESIDUAL]}. Both have batch norm, and the log10 of the first "
            f"layer's gradient is {sizes[PLAIN]} and {sizes[RESIDUAL]} at the start"
            + (": its size alone does not tell the two apart." if near else "."),
            f"{layers(DEEP)} 层时，普通网络在新曲线上的准确率是 {best[PLAIN]}，残差网络是 "
            f"{best[RESIDUAL]}。两者都有批归一化，训练开始时第一层梯度的 log10 分别是 "
            f"{sizes[PLAIN]} 和 {sizes[RESIDUAL]}"
            + ("：只看梯度的大小，分不出这两种网络。" if near else "。"),
        ),
        chosen(
            outcomes["alike"].holds,
            Text(
                "Their direction does. In the deep plain network a small change of the input turns "
                "the gradient elsewhere (Balduzzi 2017 calls it shattered), so that one step's "
                "advice says little about the next example. The shortcuts keep the direction.",
                "能分出来的是梯度的方向。在深的普通网络里，输入稍有变化，梯度就转向别处"
                "（Balduzzi 2017 称之为“破碎”），由一个样本得到的修改方向对下一个样本没有多少用处。"
                "残差连接则能保持方向。",
            ),
            Text(
                "Nor does the direction of the gradient for neighbouring inputs, as measured here.",
                "这里测得的相邻输入的梯度方向，也分不出这两种网络。",
            ),
        ),
        chosen(
            outcomes["cut"].holds,
            Text(
                f"Without one block the residual network loses {mean[RESIDUAL].en} of accuracy on "
                f"average, the plain one {mean[PLAIN].en}. In a sum one term is missing; "
                "in a chain everything behind the gap gets an input that it has never seen.",
                f"去掉一个块，残差网络的准确率平均下降 {mean[RESIDUAL].zh}，普通网络下降 "
                f"{mean[PLAIN].zh}。求和只是少了一项；而链条断开之后，"
                "后面的层收到的都是从未见过的输入。",
            ),
            Text(
                f"Without one block the accuracy of the residual network falls by "
                f"{mean[RESIDUAL].en} on average, that of the plain one by {mean[PLAIN].en}. Of "
                f"the residual network's blocks the first costs {one.en}, one of the second half "
                f"{late.en}.",
                f"去掉一个块，残差网络的准确率平均下降 {mean[RESIDUAL].zh}，普通网络下降 "
                f"{mean[PLAIN].zh}。在残差网络中，去掉第一个块下降 {one.zh}，"
                f"去掉后一半中的某一个块下降 {late.zh}。",
            ),
        ),
    ]
