"""Exercise 5: padding, stride and channels."""

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text

OUTPUT_SIZE = Function(
    signature="output_size(n, kernel, stride, padding)",
    doc=Text(
        "Places of a window of `kernel` numbers that moves by `stride` over n numbers, to which\n"
        "`padding` zeros are added on each side.",
        "n 个数的两边各补 padding 个零，宽为 kernel 的窗口每次移动 stride 格，一共有几个位置。",
    ),
    body="return (n + 2 * padding - kernel) // stride + 1",
    cases=lambda: [(5, 3, 1, 0), (8, 3, 1, 1), (7, 3, 2, 1), (8, 3, 2, 1), (11, 5, 3, 2)],
    mistakes=(
        mistake(
            "The padding is counted once: it is added on both sides, 2 * padding.",
            "填充只算了一次：两边都要补，是 2 * padding。",
            ("2 * padding", "padding"),
        ),
        mistake(
            "One place is missing: the first one, before the window has moved. Add 1.",
            "少了一个位置：窗口还没移动时的第一个位置。要加 1。",
            (" + 1", ""),
        ),
        mistake(
            "Rounded up: where the stride does not fit a last time there is no window. Use //.",
            "向上取整了：最后一步放不下时就没有窗口了。用 //。",
            ("(n + 2 * padding - kernel) // stride", "-(-(n + 2 * padding - kernel) // stride)"),
        ),
        mistake(
            "A number of places is whole: divide by //, which rounds down.",
            "位置的个数是整数：用 // 整除，向下取整。",
            ("//", "/"),
        ),
        mistake(
            "The stride is forgotten: the window moves by more than one, so there are fewer "
            "places.",
            "忘了步幅：窗口一次移动不止一格，位置就更少。",
            (" // stride", ""),
        ),
        mistake(
            "The 1 is added before the division: first divide by the stride, then add the first "
            "place.",
            "1 加在了除法之前：先除以步幅，再加上第一个位置。",
            (
                "(n + 2 * padding - kernel) // stride + 1",
                "(n + 2 * padding - kernel + 1) // stride",
            ),
        ),
        mistake(
            "The padding is forgotten.",
            "忘了填充。",
            (" + 2 * padding", ""),
        ),
    ),
)


def _volumes() -> list[Case]:
    return [
        (whole_numbers(21, 4, 4, 1), whole_numbers(22, 3, 3, 1, 1), 1, 1),
        (whole_numbers(23, 6, 5, 2), whole_numbers(24, 3, 3, 2, 3), 2, 1),
        (whole_numbers(25, 7, 7, 2), whole_numbers(26, 2, 2, 2, 2), 2, 0),
        (whole_numbers(27, 5, 6, 3), whole_numbers(28, 3, 2, 3, 2), 1, 2),
    ]


CONV = Function(
    signature="conv(x, w, stride, padding)",
    doc=Text(
        "x [height, width, channels], w [rows, columns, channels, outputs] -> y [.., .., "
        "outputs].\n"
        "Zeros are added on all four sides, the window moves by `stride`; each output has its own\n"
        "kernel, which reaches through all channels. You may call output_size.",
        "x [高, 宽, 通道]，w [行, 列, 通道, 输出通道] -> y [.., .., 输出通道]。\n"
        "四边各补 padding 圈零，窗口每次移动 stride 格；每个输出通道有自己的卷积核，\n"
        "穿过所有输入通道。可以调用 output_size。",
    ),
    body="""
        kh, kw, _, outputs = w.shape
        rows = output_size(x.shape[0], kh, stride, padding)
        columns = output_size(x.shape[1], kw, stride, padding)
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        y = np.zeros((rows, columns, outputs))
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride, j * stride
                y[i, j] = np.tensordot(x[top : top + kh, left : left + kw], w, 3)
        return y
    """,
    cases=_volumes,
    mistakes=(
        mistake(
            "The window at y[i, j] begins at x[i, j]: with a stride it begins at "
            "x[i * stride, j * stride].",
            "y[i, j] 的窗口从 x[i, j] 开始了：有步幅时应从 x[i * stride, j * stride] 开始。",
            ("top, left = i * stride, j * stride", "top, left = i, j"),
        ),
        mistake(
            "The stride is forgotten: y is as large as with a stride of 1.",
            "忘了步幅：y 的大小和步幅为 1 时一样。",
            ("kh, stride, padding)", "kh, 1, padding)"),
            ("kw, stride, padding)", "kw, 1, padding)"),
            ("i * stride, j * stride", "i, j"),
        ),
        mistake(
            "The padding is forgotten: np.pad before the windows are taken.",
            "忘了填充：取窗口之前先用 np.pad。",
            ("kh, kw, _, outputs = w.shape", "padding = 0; kh, kw, _, outputs = w.shape"),
        ),
        mistake(
            "All zeros are added at the bottom and right: half of them belong at the top and left.",
            "零全都补在下边和右边了：上边和左边也要各补一半。",
            ("((padding, padding), (padding, padding)", "((0, 2 * padding), (0, 2 * padding)"),
        ),
        mistake(
            "All zeros are added at the top and left: half of them belong at the bottom and right.",
            "零全都补在上边和左边了：下边和右边也要各补一半。",
            ("((padding, padding), (padding, padding)", "((2 * padding, 0), (2 * padding, 0)"),
        ),
        mistake(
            "The padding is off by one: the window begins one row and one column too late.",
            "填充差了一格：窗口的起点晚了一行、一列。",
            ("i * stride, j * stride", "i * stride + 1, j * stride + 1"),
            (
                "(padding, padding), (padding, padding)",
                "(padding, padding + 1), (padding, padding + 1)",
            ),
        ),
        mistake(
            "The padding repeats the border of the image: add zeros.",
            "填充时重复了图片的边缘：应该补零。",
            ("(0, 0)))", '(0, 0)), mode="edge")'),
        ),
        mistake(
            "Only the first channel is used: a kernel reaches through all of them.",
            "只用了第一个通道：卷积核要穿过所有通道。",
            (
                "x[top : top + kh, left : left + kw], w, 3",
                "x[top : top + kh, left : left + kw, :1], w[:, :, :1], 3",
            ),
        ),
        mistake(
            "The kernel is flipped: networks lay it on the image as it is.",
            "卷积核翻转了：神经网络里卷积核不翻转。",
            (", w, 3)", ", w[::-1, ::-1], 3)"),
        ),
        mistake(
            "The axes of the kernel are swapped: rows first, then columns.",
            "卷积核的行和列对调了：先行后列。",
            ("kh, kw, _, outputs", "w = w.swapaxes(0, 1); kh, kw, _, outputs"),
        ),
        mistake(
            "Summed over everything, so that all outputs are the same: sum over the window and its "
            "channels, and keep the outputs apart.",
            "把所有数都加在一起了，各个输出通道都一样：只对窗口和输入通道求和，输出通道要分开。",
            (
                "np.tensordot(x[top : top + kh, left : left + kw], w, 3)",
                "np.sum(x[top : top + kh, left : left + kw, :, None] * w)",
            ),
        ),
        mistake(
            "The channels are averaged: sum over them.",
            "对通道取了平均：应该求和。",
            ("w, 3)", "w, 3) / w.shape[2]"),
        ),
    ),
)


EXERCISE = Exercise(
    number=5,
    section="output_size",
    title=Text("Padding, stride, channels", "填充、步幅和通道"),
    task=Text(
        "What layers really do: zeros around the image, so that the borders count too; windows "
        "that move by more than one, so that what comes out is smaller; several channels in and "
        "out. First the size of what comes out, then the layer.",
        "真正的卷积层是这样的：图片四周补零，边缘也能照顾到；窗口一次移动不止一格，输出就变小；"
        "输入和输出都有好几个通道。先算出输出的大小，再写出这一层。",
    ),
    functions=(OUTPUT_SIZE, CONV),
    hints=(
        Text(
            "With the padding there are n + 2 * padding numbers. How often can the window move "
            "before its end reaches theirs? And where is it before it moves?",
            "补零之后一共有 n + 2 * padding 个数。窗口的末端碰到它们的末端之前能移动几次？"
            "移动之前它在哪里？",
        ),
        Text(
            "np.pad(x, ((p, p), (p, p), (0, 0))) pads rows and columns, and not the channels.",
            "np.pad(x, ((p, p), (p, p), (0, 0))) 只在行和列上补零，通道上不补。",
        ),
        Text(
            "np.tensordot(window, w, 3) sums over the three axes that both have, and leaves the "
            "outputs.",
            "np.tensordot(window, w, 3) 对两者共有的三个轴求和，留下输出通道。",
        ),
    ),
)
