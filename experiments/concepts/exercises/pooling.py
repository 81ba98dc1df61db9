"""Exercise 6: max pooling, its gradient, and what subsampling does in time."""

import numpy as np

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text


def _maps() -> list[Case]:
    # all different, so that every window has one largest number, and it lies in each of the corners
    shuffled = np.random.default_rng(1).permutation(24).reshape(4, 6).astype(float)
    return [
        (np.array([[1.0, 2, 5, 3], [4, 3, 1, 2]]),),
        (shuffled - 12,),
        (whole_numbers(32, 6, 4, low=-40, high=-1),),
    ]


MAX_POOL = Function(
    signature="max_pool(x)",
    doc=Text(
        "x [height, width], both even -> y [height / 2, width / 2]: the largest number of each\n"
        "window of 2 x 2; the windows lie side by side.",
        "x [高, 宽]，都是偶数 -> y [高 / 2, 宽 / 2]：每个 2 x 2 窗口里最大的数，窗口一个挨一个，"
        "不重叠。",
    ),
    body="""
        height, width = x.shape
        return x.reshape(height // 2, 2, width // 2, 2).max(axis=(1, 3))
    """,
    cases=_maps,
    mistakes=(
        mistake(
            "The mean of each window is taken: asked is the largest number.",
            "取的是每个窗口的平均值：要的是最大值。",
            (".max(", ".mean("),
        ),
        mistake(
            "The smallest number of each window is taken: asked is the largest.",
            "取的是每个窗口的最小值：要的是最大值。",
            (".max(", ".min("),
        ),
        mistake(
            "The windows overlap: the stride is forgotten, they move by 2.",
            "窗口重叠了：忘了步幅，窗口每次移动 2 格。",
            (
                "return x.reshape(height // 2, 2, width // 2, 2).max(axis=(1, 3))",
                "return np.maximum(np.maximum(x[:-1, :-1], x[:-1, 1:]), "
                "np.maximum(x[1:, :-1], x[1:, 1:]))",
            ),
        ),
        mistake(
            "Every second number is kept (a stride without a window): take the largest of the "
            "four.",
            "只是隔一个取一个数（有步幅，没有窗口）：要取四个数中最大的。",
            ("x.reshape(height // 2, 2, width // 2, 2).max(axis=(1, 3))", "x[::2, ::2]"),
        ),
        mistake(
            "The windows are made of numbers that are no neighbours: reshape to "
            "(height // 2, 2, width // 2, 2), and take the maximum over axes 1 and 3.",
            "窗口里的数不是相邻的：reshape 成 (高 // 2, 2, 宽 // 2, 2)，再对第 1、3 轴取最大值。",
            (
                "(height // 2, 2, width // 2, 2).max(axis=(1, 3))",
                "(2, height // 2, 2, width // 2).max(axis=(0, 2))",
            ),
        ),
        mistake(
            "Negative numbers became 0, as if the largest had been looked for from 0 up: all four "
            "may be negative.",
            "负数都变成了 0，好像是从 0 开始找最大值：四个数可能全是负的。",
            ("return x.reshape", "return np.maximum(x, 0).reshape"),
        ),
    ),
)


POOL_GRADIENT = Function(
    signature="gradient(x, dy)",
    doc=Text(
        "The way back through max_pool: dy [height / 2, width / 2] is how the loss changes with\n"
        "each number of y; return how it changes with each number of x, [height, width].",
        "max_pool 的反向传播：dy [高 / 2, 宽 / 2] 是损失对 y 中每个数的导数；\n"
        "返回损失对 x 中每个数的导数 [高, 宽]。",
    ),
    body="""
        dx = np.zeros(x.shape)
        for i in range(dy.shape[0]):
            for j in range(dy.shape[1]):
                a, b = divmod(x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].argmax(), 2)
                dx[2 * i + a, 2 * j + b] = dy[i, j]
        return dx
    """,
    cases=lambda: [
        (x, whole_numbers(40 + i, x.shape[0] // 2, x.shape[1] // 2, low=1, high=9))
        for i, (x,) in enumerate(_maps()[:2])
    ],
    returns=("dx",),
    mistakes=(
        mistake(
            "All four numbers of a window get the gradient: only the largest one decided y, and "
            "only it gets dy.",
            "窗口里四个数都得到了梯度：y 只由最大的那个数决定，梯度只给它。",
            ("dx[2 * i + a, 2 * j + b]", "dx[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]"),
        ),
        mistake(
            "The gradient is divided among the four, as mean pooling does: the largest gets all.",
            "梯度平均分给了四个数，那是平均池化的做法：最大的那个数应得到全部。",
            (
                "dx[2 * i + a, 2 * j + b] = dy[i, j]",
                "dx[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = dy[i, j] / 4",
            ),
        ),
        mistake(
            "The gradient always goes to the first number of a window: it goes to the largest.",
            "梯度总是给了窗口里的第一个数：应该给最大的那个数。",
            ("dx[2 * i + a, 2 * j + b]", "dx[2 * i, 2 * j]"),
        ),
        mistake(
            "Row and column within the window are swapped.",
            "窗口内的行和列对调了。",
            ("dx[2 * i + a, 2 * j + b]", "dx[2 * i + b, 2 * j + a]"),
        ),
        mistake(
            "The largest gets 1: it gets what arrives from above, dy[i, j] (the chain rule).",
            "最大的数得到了 1：应该得到上面传下来的 dy[i, j]（链式法则）。",
            ("= dy[i, j]", "= 1"),
        ),
        mistake(
            "The gradient is multiplied by the number itself: the slope of the maximum is 1.",
            "梯度乘上了这个数本身：最大值函数的斜率是 1。",
            ("= dy[i, j]", "= dy[i, j] * x[2 * i + a, 2 * j + b]"),
        ),
    ),
)


APPARENT = Function(
    signature="apparent(frequency, factor)",
    doc=Text(
        "A wave in time, `frequency` cycles per sample (0 to 0.5). Of `factor` samples one is "
        "kept,\n"
        "without any pooling before. Cycles per kept sample, 0 to 0.5, that one then sees.",
        "时间上的一个波，每个采样点 frequency 个周期（0 到 0.5）。每 factor 个采样点只留一个，\n"
        "之前不做任何池化。返回此时看到的频率：每个留下的采样点多少个周期，0 到 0.5。",
    ),
    body="""
        seen = frequency * factor % 1
        return min(seen, 1 - seen)
    """,
    cases=lambda: [(0.125, 2), (0.375, 2), (0.4375, 4), (0.21875, 6)],
    mistakes=(
        mistake(
            "Above 0.5 there is nothing to see: 0.75 cycles from sample to sample look like 0.25 "
            "backwards. That is aliasing.",
            "0.5 以上是看不到的：每个采样点走 0.75 个周期，看上去就是倒着走 0.25。这就是混叠。",
            ("min(seen, 1 - seen)", "frequency * factor"),
        ),
        mistake(
            "Whole cycles are taken off, and what is left may still be above 0.5: 0.75 forwards "
            "looks like 0.25 backwards, min(seen, 1 - seen).",
            "整数个周期去掉了，但剩下的还可能大于 0.5：向前 0.75 看上去是向后 0.25，min(seen, 1 "
            "- seen)。",
            ("min(seen, 1 - seen)", "seen"),
        ),
        mistake(
            "What is too high is cut off at 0.5: it does not stop there, it comes back down.",
            "太高的频率被截在了 0.5：它不会停在那里，而是折返下来。",
            ("min(seen, 1 - seen)", "min(frequency * factor, 0.5)"),
        ),
        mistake(
            "The frequency is divided by the factor: kept samples are further apart, so that the "
            "wave goes on by more from one to the next.",
            "频率除以了倍数：留下的采样点隔得更远，从一个到下一个，波走得更多。",
            ("frequency * factor % 1", "frequency / factor % 1"),
        ),
    ),
)


EXERCISE = Exercise(
    number=6,
    section="pooling",
    title=Text(
        "Smaller: pooling in space, subsampling in time", "变小：空间上的池化，时间上的下采样"
    ),
    task=Text(
        "Max pooling keeps the largest number of each window. Write it, and the way of the "
        "gradient "
        "back through it. Then see what a stride alone does to a wave in time: a fast one comes "
        "out slow (aliasing), which is why one pools first.",
        "最大池化只留每个窗口里最大的数。先写池化，再写梯度怎样反向传过它。"
        "然后看看在时间上只用步幅、不做池化会怎样：快的波变成了慢的波（混叠），所以要先池化。",
    ),
    functions=(MAX_POOL, POOL_GRADIENT, APPARENT),
    hints=(
        Text(
            "The window of y[i, j] is x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].",
            "y[i, j] 的窗口是 x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]。",
        ),
        Text(
            "Change one number of a window a little: when does y change? divmod(window.argmax(), "
            "2) "
            "is row and column of the largest.",
            "把窗口里的一个数稍微改一点：什么时候 y 会变？divmod(window.argmax(), 2) "
            "给出最大数的行和列。",
        ),
        Text(
            "From one kept sample to the next the wave goes on by frequency * factor cycles; whole "
            "cycles cannot be seen (% 1).",
            "从一个留下的采样点到下一个，波走了 frequency * factor 个周期；"
            "整数个周期是看不出来的（% 1）。",
        ),
    ),
)
