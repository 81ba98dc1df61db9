"""What the numbers say."""

import numpy as np

from experiments.concepts.dense_tasks.measure import TESTED
from experiments.concepts.dense_tasks.why_not import WHY_NOT
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
from experiments.concepts.frame.spread import above, percent, spread, versus


def read(values) -> Findings:
    coarse, fine = values["coarse_iou"], values["fine_iou"]

    def hundred(each) -> list[float]:
        return [100 * x for x in each]

    outcomes = {
        "same": Outcome(
            f"{np.max(values['apart']):.0e}", bool(np.max(values["apart"]) < 1e-4),
            {"": values["apart"]}, why_not=WHY_NOT["same"](values),
        ),
        "slid": Outcome(
            percent(values["slid"]), bool(np.mean(values["slid"]) > 0.5),
            {"": hundred(values["slid"])}, "%", WHY_NOT["slid"](values),
        ),
        "taught": Outcome(
            versus(values['coarse_ink'], values['slid']),
            above(values["coarse_ink"], values["slid"]),
            {Text("taught pixels", "学过像素"): hundred(values["coarse_ink"]),
             Text("classes only", "只学过类别"): hundred(values["slid"])}, "%",
            WHY_NOT["taught"](values),
        ),
        "skip": Outcome(
            versus(fine, coarse), above(fine, coarse),
            {Text("with fine maps", "接上精细特征图"): hundred(fine),
             Text("without", "不接"): hundred(coarse)}, "%", WHY_NOT["skip"](values),
        ),
        "found": Outcome(
            percent(values["found"]), bool(np.mean(values["found"]) > 0.8),
            {"": hundred(values["found"])}, "%", WHY_NOT["found"](values),
        ),
        "single": Outcome(
            Text(f"{spread(values['before'], digits=2)}, then {spread(values['after'], digits=2)}",
                 f"{spread(values['before'], digits=2)}，然后 "
                 f"{spread(values['after'], digits=2)}"),
            bool(np.mean(values["before"]) > 2 and 0.9 < np.mean(values["after"]) < 1.1),
            {Text("without suppression", "不抑制"): values["before"],
             Text("with", "抑制"): values["after"]},
            why_not=WHY_NOT["single"](values),
        ),
    }  # fmt: skip
    table = Table(
        [Text("network", "网络"), Text("parameters", "参数"), Text("learnt from", "从什么学"),
         Text("pixels of digits right", "数字像素的准确率"), Text("mean IoU", "平均交并比")],
        [
            [Text("classifier, at each place", "分类网络，用于每个位置"),
             f"{values['slid_size']:,}", Text("a class for each image", "每幅图像的类别"),
             percent(values["slid"]), ""],
            [Text("pixels from the coarse map", "只用粗糙特征图"), f"{values['coarse_size']:,}",
             Text("a class for each pixel", "每个像素的类别"), percent(values["coarse_ink"]),
             percent(coarse)],
            [Text("pixels from all maps, and boxes", "用所有特征图，外加框"),
             f"{values['fine_size']:,}", Text("classes of pixels, and boxes", "像素类别和框"),
             percent(values["fine_ink"]), percent(fine)],
        ],
        Text(f"{TESTED} scenes of digits that training did not see",
             f"{TESTED} 个场景，其中的数字在训练时没有出现过"),
    )  # fmt: skip
    return Findings([table], _charts(values), outcomes, _reading(values, outcomes))


def _charts(values) -> list[Chart | Images]:
    scenes_shown = [np.asarray(image) for image in values["scenes_shown"]]
    boxes = [[(*row[:4], f"{row[5]:.0f}") for row in rows] for rows in values["boxes_shown"]]
    rows = [
        ImageRow(Text("truth", "真值"), values["truth_shown"], colours="classes"),
        ImageRow(Text("classifier", "分类网络"), values["slid_shown"], colours="classes"),
        ImageRow(Text("coarse", "粗糙"), values["coarse_shown"], colours="classes"),
        ImageRow(Text("all maps", "所有特征图"), values["fine_shown"], colours="classes"),
        ImageRow(Text("boxes", "框"), scenes_shown, low=0, high=1, boxes=boxes),
    ]
    kinds = (("border", Text("pixels at borders", "边界像素")), ("ink", Text("all", "全部")))
    series = [
        Series(name, [], [[100 * x for x in values[f"{net}_{kind}"]] for kind, _ in kinds])
        for net, name in (
            ("coarse", Text("coarse map", "粗糙特征图")), ("fine", Text("all maps", "所有特征图")),
        )
    ]  # fmt: skip
    return [
        Images(Text("Four scenes and three answers", "四个场景，三种回答"), rows),
        Chart(Text("Where the fine maps help", "精细特征图在哪里有用"), "",
              Text("pixels right (%)", "像素准确率（%）"), series, kind="bars",
              categories=[name for _, name in kinds], y_range=(0, 100)),
    ]  # fmt: skip


def _reading(values, outcomes) -> list[Text]:
    return [
        chosen(
            outcomes["same"].holds,
            Text(
                "So a classifier holds a map of classes already; only the mean hides it. As it was "
                f"never told where, it gets {percent(values['slid'])} of the digits' pixels right, "
                "and it knows no background: in the images its answers are shown on digits only.",
                "可见分类网络里本来就有一张类别图，只是被取平均掩盖了。从没有人告诉它数字在哪里，"
                f"它对数字像素的准确率是 {percent(values['slid'])}；它也不知道什么是背景："
                "图中只画出了它在数字上的回答。",
            ),
            Text(
                "The classifier at each place and the classifier of the image do not agree.",
                "逐个位置的分类与整幅图像的分类并不一致。",
            ),
        ),
        Text(
            f"At borders, where the class changes from one pixel to the next, the coarse map alone "
            f"is right in {percent(values['coarse_border'])}, with the fine maps in "
            f"{percent(values['fine_border'])}.",
            f"在边界上，相邻像素的类别不同：只用粗糙特征图的准确率是 "
            f"{percent(values['coarse_border'])}，接上精细特征图是 "
            f"{percent(values['fine_border'])}。",
        ),
        Text(
            f"Boxes: {percent(values['found'])} of the digits are found with the right class, "
            f"{percent(values['any'])} if the class does not count; for a hundred digits there are "
            f"{spread(values['wrong'], scale=100, digits=0)} wrong boxes. Suppression leaves "
            f"{spread(values['after'], digits=2)} of {spread(values['before'], digits=2)} boxes "
            "for "
            "each digit.",
            f"框：{percent(values['found'])} 的数字被找到且类别正确，不计类别则为 "
            f"{percent(values['any'])}；每一百个数字有 "
            f"{spread(values['wrong'], scale=100, digits=0)} 个错误的框。抑制之后，每个数字的框从 "
            f"{spread(values['before'], digits=2)} 个减少到 {spread(values['after'], digits=2)} "
            "个。",
        ),
    ]
