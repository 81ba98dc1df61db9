"""Exercise 12: what was seen where."""

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text


def _features() -> list[Case]:
    return [
        (whole_numbers(1, 2, 3, 2), whole_numbers(2, 2, 2)),
        (whole_numbers(3, 3, 4, 3), whole_numbers(4, 3, 3)),
        (whole_numbers(5, 4, 3, 2), whole_numbers(6, 2, 4)),
    ]


CLASS_MAPS = Function(
    signature="class_maps(features, weights)",
    doc=Text(
        "features [height, width, channels], weights of the last layer [channels, classes] ->\n"
        "[height, width, classes]: the last layer at each place on its own (a 1 x 1 convolution).",
        "特征 [高, 宽, 通道]，最后一层的权重 [通道, 类别] -> [高, 宽, 类别]：\n"
        "把最后一层单独用在每个位置上（1 x 1 卷积）。",
    ),
    body="return features @ weights",
    cases=_features,
    returns=("maps",),
    mistakes=(
        mistake(
            "The weights are transposed: channels are summed over, classes stay.",
            "权重转置了：对通道求和，留下类别。",
            ("weights", "weights.T"),
        ),
        mistake(
            "The mean over all places is taken: here the places stay apart.",
            "对所有位置取了平均：这里各个位置要分开。",
            ("features @ weights", "features.mean((0, 1)) @ weights"),
        ),
        mistake(
            "Height and width are swapped.",
            "高和宽对调了。",
            ("features @ weights", "features.swapaxes(0, 1) @ weights"),
        ),
        mistake(
            "Negative scores became 0: the last layer has no activation.",
            "负的得分变成了 0：最后一层没有激活函数。",
            ("features @ weights", "np.maximum(features @ weights, 0)"),
        ),
        mistake(
            "The scores are divided by the number of channels: sum over them.",
            "得分除以了通道数：应该求和。",
            ("features @ weights", "features @ weights / len(weights)"),
        ),
    ),
)


READ = Function(
    signature="read(maps)",
    doc=Text(
        "maps [height, width, classes] -> the scores of the classifier, [classes], which takes "
        "the\n"
        "mean over all places; and the class of each place, [height, width]: segmentation.",
        "maps [高, 宽, 类别] -> 分类网络的得分 [类别]，它对所有位置取平均；\n"
        "以及每个位置的类别 [高, 宽]，也就是分割。",
    ),
    body="return maps.mean((0, 1)), maps.argmax(2)",
    cases=lambda: [(features @ weights,) for features, weights in _features()],
    returns=("scores", "classes"),
    mistakes=(
        mistake(
            "The scores are summed over all places: take their mean.",
            "得分是对所有位置求的和：应取平均。",
            ("maps.mean((0, 1))", "maps.sum((0, 1))"),
        ),
        mistake(
            "The largest score of all places is taken: the classifier takes the mean.",
            "取了所有位置中最大的得分：分类网络取的是平均。",
            ("maps.mean((0, 1))", "maps.max((0, 1))"),
        ),
        mistake(
            "The mean is over the rows alone: over height and width, axes (0, 1).",
            "只沿行取了平均：应在高和宽上取，即轴 (0, 1)。",
            ("maps.mean((0, 1))", "maps.mean(0)"),
        ),
        mistake(
            "The mean is over the classes: over height and width, axes (0, 1).",
            "沿类别取了平均：应在高和宽上取，即轴 (0, 1)。",
            ("maps.mean((0, 1))", "maps.mean(2)"),
        ),
        mistake(
            "argmax goes over the rows: for each place it is over the classes, the last axis.",
            "argmax 沿行进行了：每个位置应在类别上取，即最后一个轴。",
            ("argmax(2)", "argmax(0)"),
        ),
        mistake(
            "argmax goes over the columns: for each place it is over the classes, the last axis.",
            "argmax 沿列进行了：每个位置应在类别上取，即最后一个轴。",
            ("argmax(2)", "argmax(1)"),
        ),
        mistake(
            "The highest score of each place is returned: asked is whose it is, argmax.",
            "返回的是每个位置的最高得分：要的是哪个类别得了最高分，用 argmax。",
            ("argmax(2)", "max(2)"),
        ),
        mistake(
            "There is one class for the whole image: one for each place is asked.",
            "整张图片只给了一个类别：要的是每个位置一个类别。",
            ("maps.argmax(2)", "maps.mean((0, 1)).argmax()"),
        ),
        mistake(
            "The two are in the wrong order: first the scores, then the classes.",
            "两者的顺序反了：先得分，后类别。",
            ("maps.mean((0, 1)), maps.argmax(2)", "maps.argmax(2), maps.mean((0, 1))"),
        ),
    ),
)


EXERCISE = Exercise(
    number=12,
    section="features",
    title=Text("What was seen where", "在哪里看到了什么"),
    task=Text(
        "A classifier takes the mean of its features over the image and then scores the classes. "
        "Do "
        "it the other way round, score first, and you see which places spoke for a class (a class "
        "activation map). The same map is a segmentation, and its mean is the classifier's answer.",
        "分类网络先把特征在整张图片上取平均，再给各类别打分。反过来，先打分，"
        "就能看到图片的哪些位置支持哪个类别"
        "（类激活图）。同一张图也就是分割结果，而它的平均值正是分类网络的答案。",
    ),
    functions=(CLASS_MAPS, READ),
    hints=(
        Text(
            "features @ weights multiplies the last axis of one with the first of the other, at "
            "each "
            "place.",
            "features @ weights 在每个位置上，把前者的最后一个轴与后者的第一个轴相乘求和。",
        ),
        Text(
            "Places are the axes 0 and 1, classes are axis 2: a mean over the first, an argmax "
            "over "
            "the last.",
            "位置是第 0、1 轴，类别是第 2 轴：前者取平均，后者取 argmax。",
        ),
    ),
)
