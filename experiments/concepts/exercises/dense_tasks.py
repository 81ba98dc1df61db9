"""Exercise 11: boxes that overlap."""

import numpy as np

from experiments.concepts.exercises.exercise import Exercise, Function, mistake
from experiments.concepts.frame.lesson import Text

IOU = Function(
    signature="iou(a, b)",
    doc=Text(
        "Two boxes (left, top, right, bottom) -> the area that both cover over the area that at\n"
        "least one covers (intersection over union), 0 to 1.",
        "两个框（左, 上, 右, 下）-> 两框共同覆盖的面积除以至少被一个框覆盖的面积（交并比），0 到 "
        "1。",
    ),
    body="""
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        both = width * height
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return both / (areas[0] + areas[1] - both)
    """,
    cases=lambda: [
        ((0, 0, 4, 4), (2, 0, 6, 4)),
        ((0, 0, 4, 5), (1, 3, 4, 6)),
        ((0, 0, 2, 3), (5, 7, 9, 9)),
        ((0, 0, 6, 5), (0, 0, 6, 5)),
    ],
    mistakes=(
        mistake(
            "Boxes that do not meet have a negative width and height, whose product is positive: "
            "max(0, ...) for each side.",
            "两个框不相交时，宽和高都是负的，乘起来却是正的：每条边都要 max(0, ...)。",
            ("max(0, min(a[2], b[2]) - max(a[0], b[0]))", "min(a[2], b[2]) - max(a[0], b[0])"),
            ("max(0, min(a[3], b[3]) - max(a[1], b[1]))", "min(a[3], b[3]) - max(a[1], b[1])"),
        ),
        mistake(
            "What both cover is counted twice in the sum of the areas: take it off once.",
            "面积相加时，共同覆盖的部分算了两次：要减去一次。",
            ("areas[0] + areas[1] - both", "areas[0] + areas[1]"),
        ),
        mistake(
            "Divided by the smaller box: divide by what at least one covers.",
            "除以了较小的框：应除以至少被一个框覆盖的面积。",
            ("(areas[0] + areas[1] - both)", "min(areas)"),
        ),
        mistake(
            "Divided by the first box: divide by what at least one covers.",
            "除以了第一个框：应除以至少被一个框覆盖的面积。",
            ("(areas[0] + areas[1] - both)", "areas[0]"),
        ),
        mistake(
            "A pixel is added to each side (as the first VOC programs did): the width is right - "
            "left.",
            "每条边多加了一个像素（最早的 VOC 程序这样做）：宽就是 右 - 左。",
            ("min(a[2], b[2]) - max(a[0], b[0])", "min(a[2], b[2]) - max(a[0], b[0]) + 1"),
            ("min(a[3], b[3]) - max(a[1], b[1])", "min(a[3], b[3]) - max(a[1], b[1]) + 1"),
            ("(c[2] - c[0]) * (c[3] - c[1])", "(c[2] - c[0] + 1) * (c[3] - c[1] + 1)"),
        ),
        mistake(
            "The boxes are read as (left, top, width, height): the last two are right and bottom.",
            "把框当成了（左, 上, 宽, 高）：后两个数是右和下。",
            (
                "width = ",
                "a, b = [(c[0], c[1], c[0] + c[2], c[1] + c[3]) for c in (a, b)]; width = ",
            ),
        ),
        mistake(
            "That is the area that both cover: divide it by the area that at least one covers.",
            "这只是共同覆盖的面积：还要除以至少被一个框覆盖的面积。",
            ("both / (areas[0] + areas[1] - both)", "both"),
        ),
    ),
)


_BOXES = np.array(
    [[0, 0, 4, 4], [1, 0, 5, 4], [3, 0, 7, 4], [20, 20, 24, 24], [20, 21, 24, 25]], np.float64
)


_ROW = np.array([[0, 0, 10, 4], [4, 0, 14, 4], [8, 0, 18, 4], [30, 0, 34, 4]], np.float64)


NMS = Function(
    signature="nms(boxes, scores, threshold)",
    doc=Text(
        "Non-maximum suppression: boxes [n, 4], scores [n] -> the indices of those that stay, the\n"
        "best first. The box with the highest score stays; all that overlap it by more than the\n"
        "threshold (IoU) go; the same with what is left. You may call iou.",
        "非极大值抑制：boxes [n, 4]，scores [n] -> 留下的框的下标，得分高的在前。\n"
        "得分最高的框留下，与它的交并比大于阈值的都去掉；对剩下的框再来一遍。可以调用 iou。",
    ),
    body="""
        kept = []
        for i in np.argsort(-scores):
            if all(iou(boxes[i], boxes[k]) <= threshold for k in kept):
                kept.append(i)
        return kept
    """,
    cases=lambda: [
        (_BOXES[3:], np.array([0.6, 0.9]), 0.5),
        (_BOXES, np.array([0.6, 0.9, 0.3, 0.2, 0.8]), 0.5),
        (_ROW, np.array([0.7, 0.5, 0.4, 0.9]), 0.4),
        (_ROW, np.array([0.4, 0.5, 0.7, 0.3]), 0.3),
    ],
    returns=("kept",),
    mistakes=(
        mistake(
            "The worst box comes first: sort by falling score, np.argsort(-scores).",
            "从得分最低的框开始了：按得分从高到低排序，np.argsort(-scores)。",
            ("np.argsort(-scores)", "np.argsort(scores)"),
        ),
        mistake(
            "The boxes are taken in the order of the list: begin with the highest score.",
            "框是按原来的顺序处理的：应从得分最高的开始。",
            ("np.argsort(-scores)", "range(len(scores))"),
        ),
        mistake(
            "A box that has gone still suppresses others: compare only with boxes that stay.",
            "已经去掉的框还在抑制别的框：只与留下的框比较。",
            ("kept = []", "order = list(np.argsort(-scores)); kept = []"),
            ("for k in kept)", "for k in order[: order.index(i)])"),
        ),
        mistake(
            "Boxes that overlap stay and the others go: it is the other way round.",
            "重叠的留下了，不重叠的去掉了：正好反了。",
            ("<= threshold", "> threshold"),
        ),
        mistake(
            "The indices are sorted by number: the box with the highest score comes first.",
            "下标按数字大小排了序：得分最高的框应排在最前。",
            ("return kept", "return sorted(kept)"),
        ),
        mistake(
            "The boxes themselves are returned: return their indices.",
            "返回的是框本身：应返回下标。",
            ("return kept", "return boxes[kept]"),
        ),
        mistake(
            "A mask is returned, true and false: return indices, the best first.",
            "返回的是真假掩码：应返回下标，得分高的在前。",
            ("return kept", "return np.isin(np.arange(len(scores)), kept)"),
        ),
        mistake(
            "Each box is compared only with the last one that stayed: compare with all of them.",
            "每个框只与最后留下的那个比较：要与所有留下的框比较。",
            ("for k in kept)", "for k in kept[-1:])"),
        ),
        mistake(
            "Only the best box stays: go on with those that do not overlap it.",
            "只留下了得分最高的一个框：不与它重叠的框还要接着处理。",
            ("return kept", "return kept[:1]"),
        ),
        mistake(
            "All boxes stay, in the order of their scores: those that overlap a better one by more "
            "than the threshold go.",
            "所有框都留下了，只是按得分排了序：与更好的框重叠超过阈值的要去掉。",
            ("<= threshold", "<= 1"),
        ),
    ),
)


EXERCISE = Exercise(
    number=11,
    section="dense_tasks",
    title=Text("From a class to boxes", "从类别到框"),
    task=Text(
        "A detector has an opinion at every place of the image, so that one object gets many "
        "boxes. "
        "Measure how much two boxes overlap, and keep the best box of each heap.",
        "检测器在图片的每个位置都给出判断，一个物体就会得到很多框。先量出两个框重叠多少，"
        "再从每一堆框里留下最好的一个。",
    ),
    functions=(IOU, NMS),
    hints=(
        Text(
            "The common part reaches from the larger of the two left sides to the smaller of the "
            "two "
            "right sides. And if that is negative?",
            "公共部分从两个左边界中较大的，到两个右边界中较小的。如果这个差是负的呢？",
        ),
        Text(
            "What at least one box covers: both areas, minus what was counted twice.",
            "至少被一个框覆盖的面积：两个面积之和，减去算了两次的部分。",
        ),
        Text(
            "Go through np.argsort(-scores), and append i if it overlaps none of those kept.",
            "依次处理 np.argsort(-scores)，如果第 i 个框与已留下的都不重叠，就把 i 加进去。",
        ),
    ),
)
