"""Exercise 7: how far a unit of a deep layer sees."""

from experiments.concepts.exercises.exercise import Exercise, Function, mistake
from experiments.concepts.frame.lesson import Text

RECEPTIVE_FIELD = Function(
    signature="receptive_field(kernels, strides)",
    doc=Text(
        "Layers from the input to the output, the width of each one's window and its stride ->\n"
        "how many pixels in a row one unit of the last layer sees, and how many pixels lie "
        "between\n"
        "what it and its neighbour see first.",
        "从输入到输出的各层，给出每层的窗口宽度和步幅 ->\n"
        "最后一层的一个单元能看到一行里多少个像素，以及它和相邻单元的视野起点相差多少个像素。",
    ),
    body="""
        size, step = 1, 1
        for kernel, stride in zip(kernels, strides):
            size += (kernel - 1) * step
            step *= stride
        return size, step
    """,
    cases=lambda: [
        ((3,), (1,)),
        ((3, 3, 3), (1, 1, 1)),
        ((3, 2, 3), (1, 2, 1)),
        ((5, 3, 2, 3), (2, 1, 2, 2)),
    ],
    returns=("size", "step"),
    mistakes=(
        mistake(
            "The windows are added: two layers of 3 see 5 pixels, not 6, since windows overlap. "
            "Each "
            "adds kernel - 1.",
            "窗口宽度直接相加了：两层宽 3 的卷积看到 5 个像素，不是 6 个，因为窗口有重叠。"
            "每层增加 kernel - 1。",
            ("size, step = 1, 1", "size, step = 0, 1"),
            ("(kernel - 1) * step", "kernel * step"),
        ),
        mistake(
            "The windows are added, and the strides forgotten: each layer adds kernel - 1 of its "
            "steps, since windows overlap, and a step is as long as all strides before it multiply "
            "to.",
            "窗口宽度直接相加了，步幅也忘了：窗口有重叠，每层只增加 kernel - 1 步，"
            "而一步的长度是前面所有步幅的乘积。",
            ("size, step = 1, 1", "size, step = 0, 1"),
            ("(kernel - 1) * step", "kernel"),
        ),
        mistake(
            "The windows are multiplied: neighbouring windows overlap. Each layer adds "
            "(kernel - 1) steps.",
            "窗口宽度相乘了：相邻的窗口有重叠。每层增加 (kernel - 1) 步。",
            ("size += (kernel - 1) * step", "size *= kernel"),
        ),
        mistake(
            "The strides are forgotten in the size: behind a stride of 2, neighbours lie two "
            "pixels "
            "apart, so that each further layer adds (kernel - 1) * 2.",
            "算大小时忘了步幅：步幅为 2 之后，相邻单元隔着两个像素，后面每层增加 (kernel - 1) * "
            "2。",
            ("(kernel - 1) * step", "(kernel - 1)"),
        ),
        mistake(
            "A layer's own stride counts already in its own window: add (kernel - 1) * step first, "
            "then multiply the step. A stride moves the windows, it does not widen them.",
            "一层自己的步幅算进了自己的窗口：先加 (kernel - 1) * step，再把 step 乘以步幅。"
            "步幅移动窗口，不会把窗口变宽。",
            (
                "size += (kernel - 1) * step\n            step *= stride",
                "step *= stride\n            size += (kernel - 1) * step",
            ),
        ),
        mistake(
            "A single unit without any layer sees one pixel: begin at 1, not at 0.",
            "一层也没有时，一个单元看到一个像素：从 1 开始，不是从 0 开始。",
            ("size, step = 1, 1", "size, step = 0, 1"),
        ),
        mistake(
            "Each layer adds its whole window: kernel - 1 of it are new, the rest was seen before.",
            "每层把整个窗口都加上了：其中只有 kernel - 1 个是新的，其余的已经看到了。",
            ("(kernel - 1)", "kernel"),
        ),
        mistake(
            "The strides are added: they multiply. Two strides of 2 move by 4 pixels.",
            "步幅相加了：步幅应该相乘。两个步幅 2 一次移动 4 个像素。",
            ("step *= stride", "step += stride - 1"),
        ),
        mistake(
            "The layers are taken from the output to the input: begin at the input.",
            "各层是从输出往输入算的：应从输入开始。",
            ("zip(kernels, strides)", "zip(kernels[::-1], strides[::-1])"),
        ),
        mistake(
            "Size and step are in the wrong order: first the size.",
            "大小和步长的顺序反了：先返回大小。",
            ("return size, step", "return step, size"),
        ),
    ),
)


EXERCISE = Exercise(
    number=7,
    section="receptive_field",
    title=Text("How far a unit sees", "一个单元能看多远"),
    task=Text(
        "One layer of 3 x 3 sees three pixels in a row. Two of them see five, and a stride makes "
        "all that follows see further. Write the sum that tells it for any stack of layers. It is "
        "checked by asking JAX which pixels the gradient of one unit reaches.",
        "一层 3 x 3 的卷积在一行里看到三个像素，两层看到五个，加上步幅，后面的层都看得更远。"
        "写出对任意多层都适用的算法。检查时让 JAX 求一个单元的梯度，看它到达哪些像素。",
    ),
    functions=(RECEPTIVE_FIELD,),
    hints=(
        Text(
            "Keep two numbers from layer to layer: what a unit sees, and how many pixels its "
            "neighbour is away.",
            "逐层记住两个数：一个单元看到多少像素，相邻单元离它多少像素。",
        ),
        Text(
            "A window of 3 takes two more neighbours in, each `step` pixels further.",
            "宽为 3 的窗口多看到两个相邻单元，每个再远 step 个像素。",
        ),
    ),
)
