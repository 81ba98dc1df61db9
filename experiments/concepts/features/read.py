"""What the numbers say."""

import numpy as np

from experiments.concepts.features.measure import AREA, HIDDEN, SIDE
from experiments.concepts.features.why_not import WHY_NOT
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
from experiments.concepts.frame.spread import above, hundredths, percent, spread, versus


def read(values) -> Findings:
    def hundred(name: str) -> list[float]:
        return [100 * x for x in values[name]]

    def pair(name: str, first: str, second: str, words: tuple[Text, Text]) -> Outcome:
        return Outcome(
            versus(values[first], values[second]),
            above(values[first], values[second]),
            {words[0]: hundred(first), words[1]: hundred(second)}, "%", WHY_NOT[name](values),
        )  # fmt: skip

    trained, random = Text("trained", "训练后"), Text("random weights", "随机权重")
    outcomes = {
        "smooth": Outcome(
            versus(values['smooth'], values['rough'], hundredths),
            above(values["smooth"], values["rough"]),
            {trained: values["smooth"], random: values["rough"]},
            why_not=WHY_NOT["smooth"](values),
        ),
        "looks": Outcome(
            percent(values["looked"]), bool(np.mean(values["looked"]) > 2 * AREA),
            {"": hundred("looked")}, "%", WHY_NOT["looks"](values),
        ),
        "learnt": pair("learnt", "looked", "begun", (trained, random)),
        "chooses": pair("chooses", "chosen", "chosen_random", (trained, random)),
        "weights": Outcome(
            spread(values["alike"], digits=2), bool(np.mean(values["alike"]) < 0.7),
            {"": values["alike"]}, why_not=WHY_NOT["weights"](values),
        ),
        "hidden": pair("hidden", "drops", "random", (
            Text("marked most", "标得最亮"), Text("at random", "随机"),
        )),
    }  # fmt: skip
    table = Table(
        [Text("measured", "测量内容"), trained, random],
        [
            [Text("Grad-CAM inside the digit's square", "Grad-CAM 落在数字方框内"),
             percent(values["looked"]), percent(values["begun"])],
            [Text("Grad-CAM on the real digit of two", "两个之中落在真数字上"),
             percent(values["chosen"]), percent(values["chosen_random"])],
            [Text("correlation of neighbouring weights", "相邻权重的相关系数"),
             spread(values["smooth"], digits=2), spread(values["rough"], digits=2)],
            [Text("accuracy, one digit anywhere", "准确率，一个数字在任意位置"),
             percent(values["right"]), ""],
            [Text("accuracy, beside a shuffled one", "准确率，旁边有打乱的数字"),
             percent(values["right_beside"]), ""],
        ],
    )  # fmt: skip
    return Findings([table], _charts(values), outcomes, _reading(values, outcomes))


def _charts(values) -> list[Chart | Images]:
    kinds = [Text("one digit", "一个数字"), Text("real or shuffled", "真的还是打乱的")]
    bars = [
        Series(name, [], [[100 * x for x in values[key]] for key in keys])
        for name, keys in (
            (Text("trained", "训练后"), ("looked", "chosen")),
            (Text("random weights", "随机权重"), ("begun", "chosen_random")),
        )
    ]
    return [
        Images(Text("The first layer", "第一层"), [
            ImageRow(Text("filters", "滤波器"), values["filters_shown"], colours="signed"),
            ImageRow(Text("their maps\nof one image", "同一幅图像\n的特征图"),
                     values["maps_shown"], low=0),
            ImageRow(Text("what excites\nthem most", "最能激活\n它们的图块"),
                     values["patches_shown"], low=0, high=1),
        ]),
        Images(Text("Where the decision comes from", "判断来自哪里"), [
            ImageRow(Text("one digit", "一个数字"), values["cam_shown"], colours="heat", low=0,
                     over=values["images_shown"]),
            ImageRow(Text("and a\nshuffled one", "旁边有\n打乱的数字"), values["chosen_shown"],
                     colours="heat", low=0, over=values["beside_shown"]),
            ImageRow(Text("the same,\nrandom weights", "同上，\n随机权重"),
                     values["chosen_random_shown"], colours="heat", low=0,
                     over=values["beside_shown"]),
        ]),
        Chart(Text("Grad-CAM on the digit", "落在数字上的 Grad-CAM"), "",
              Text("share (%)", "比例（%）"), bars, kind="bars", categories=kinds,
              y_range=(0, 100)),
    ]  # fmt: skip


def _reading(values, outcomes) -> list[Text]:
    looked, begun = percent(values["looked"]), percent(values["begun"])
    kept, other = percent(values["chosen"]), percent(values["chosen_random"])
    return [
        chosen(
            outcomes["learnt"].holds,
            Text(
                f"{looked} of Grad-CAM lie on a single digit, and {begun} with random weights.",
                f"只有一个数字时，Grad-CAM 有 {looked} 落在数字上；随机权重时有 {begun}。",
            ),
            Text(
                f"{looked} of Grad-CAM lie on a single digit, but {begun} do with random weights, "
                "so that this figure does not show that anything was learnt. A map that looks "
                "right "
                "proves nothing: on a black ground there is nothing else to look at.",
                f"只有一个数字时，Grad-CAM 有 {looked} 落在数字上；可是随机权重时也有 {begun}，"
                "所以这个数并不能说明网络学到了什么。热力图看上去合理，不能证明什么："
                "背景是黑的，本来就没有别的东西可看。",
            ),
        ),
        chosen(
            outcomes["chooses"].holds,
            Text(
                "Where there is something else to look at, the difference shows: of what lies on "
                f"either, {kept} are on the real digit, with random weights {other}.",
                "一旦有别的东西可看，差别就显出来了：落在两者之上的热力图中，"
                f"有 {kept} 在真的数字上，随机权重时只有 {other}。",
            ),
            Text(
                f"Of what lies on a digit or its shuffled neighbour, {kept} are on the real one, "
                f"with random weights {other}: this does not tell them apart either.",
                f"落在数字和打乱的数字之上的热力图中，有 {kept} 在真的数字上，随机权重时有 "
                f"{other}：这也没有显出差别。",
            ),
        ),
        Text(
            f"Hiding {HIDDEN} of {SIDE**2} pixels costs the right class "
            f"{spread(values['drops'], scale=100)} points of probability where Grad-CAM marks "
            "most, "
            f"and {spread(values['random'], scale=100)} at random places of the digit's square.",
            f"在 {SIDE**2} 个像素中遮住 {HIDDEN} 个：遮住 Grad-CAM 标得最亮的，正确类别的概率下降 "
            f"{spread(values['drops'], scale=100)} 个百分点；在数字方框内随机遮住，下降 "
            f"{spread(values['random'], scale=100)} 个百分点。",
        ),
    ]
