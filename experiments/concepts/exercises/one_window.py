"""Exercise 3: a convolution by hand."""

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text


def _planes() -> list[Case]:
    return [
        (whole_numbers(1, 4, 4), whole_numbers(2, 2, 2)),
        (whole_numbers(3, 5, 5), whole_numbers(4, 3, 3)),
        (whole_numbers(5, 4, 7), whole_numbers(6, 2, 3)),
        (whole_numbers(7, 3, 3) / 2, whole_numbers(8, 3, 3) / 2),
    ]


CONV2D = Function(
    signature="conv2d(x, w)",
    doc=Text(
        "x [height, width], kernel w [rows, columns] -> y, one number for each place where the\n"
        "kernel lies inside the image: y[i, j] is the sum of w[a, b] * x[i + a, j + b].",
        "x [高, 宽]，卷积核 w [行, 列] -> y，卷积核能完整放进图片的每个位置各有一个数：\n"
        "y[i, j] 等于所有 w[a, b] * x[i + a, j + b] 之和。",
    ),
    body="""
        kh, kw = w.shape
        rows, columns = x.shape[0] - kh + 1, x.shape[1] - kw + 1
        y = np.zeros((rows, columns))
        for i in range(rows):
            for j in range(columns):
                y[i, j] = np.sum(x[i : i + kh, j : j + kw] * w)
        return y
    """,
    cases=_planes,
    mistakes=(
        mistake(
            "The kernel is flipped, top to bottom and left to right. That is convolution in "
            "mathematics; networks lay the kernel on the image as it is.",
            "卷积核上下、左右都翻转了。那是数学里的卷积；神经网络里卷积核不翻转，直接放上去。",
            ("* w)", "* w[::-1, ::-1])"),
        ),
        mistake(
            "The axes of the kernel are swapped: w[a, b] belongs to x[i + a, j + b], row to row.",
            "卷积核的两个轴对调了：w[a, b] 对应 x[i + a, j + b]，行对行。",
            ("kh, kw = w.shape", "w = w.T; kh, kw = w.shape"),
        ),
        mistake(
            "Rows and columns of the image are swapped: the first index of x is the row.",
            "图片的行和列对调了：x 的第一个下标是行。",
            ("kh, kw = w.shape", "x = x.T; kh, kw = w.shape"),
        ),
        mistake(
            "The result is transposed: y[i, j], with i for the row.",
            "结果转置了：应该是 y[i, j]，i 是行。",
            ("return y", "return y.T"),
        ),
        mistake(
            "The last row and the last column are missing: there are height - rows + 1 places, not "
            "height - rows.",
            "少了最后一行和最后一列：一共有 高 - 核高 + 1 个位置，不是 高 - 核高。",
            ("- kh + 1", "- kh"),
            ("- kw + 1", "- kw"),
        ),
        mistake(
            "y is as large as the image, with zeros where the kernel does not fit: leave those "
            "out.",
            "y 和图片一样大，放不下卷积核的位置填了 0：这些位置不要。",
            ("np.zeros((rows, columns))", "np.zeros(x.shape)"),
        ),
        mistake(
            "The image is padded with zeros, so that y is as large as x: here the kernel stays "
            "inside.",
            "图片四周补了零，所以 y 和 x 一样大：这里卷积核不能伸出图片。",
            (
                "kh, kw = w.shape",
                "kh, kw = w.shape; x = np.pad(x, [((k - 1) // 2, k // 2) for k in w.shape])",
            ),
        ),
        mistake(
            "The window is averaged: the products are added, and not divided by anything.",
            "窗口取了平均：乘积只相加，不除以任何数。",
            ("np.sum(", "np.mean("),
        ),
        mistake(
            "x @ w multiplies matrices, rows by columns: here each number meets one number, "
            "window * w.",
            "x @ w 是矩阵乘法，行乘列：这里是一个数对一个数，window * w。",
            ("x[i : i + kh, j : j + kw] * w", "x[i : i + kh, j : j + kh] @ w"),
        ),
        mistake(
            "The kernel is added to the window: multiply, then sum.",
            "卷积核和窗口相加了：应该先相乘，再求和。",
            (" * w)", " + w)"),
        ),
    ),
)


EXERCISE = Exercise(
    number=3,
    section="one_window",
    title=Text("A convolution by hand", "亲手写一个卷积"),
    task=Text(
        "Lay a small kernel on the image, multiply each weight by the number below it, add up: one "
        "number of the result. Move the kernel by one and do it again, wherever it fits.",
        "把一个小卷积核放在图片上，每个权重乘以它下面的数，全部加起来，就是结果中的一个数。"
        "把卷积核移动一格再算一次，凡是放得下的位置都算一遍。",
    ),
    functions=(CONV2D,),
    hints=(
        Text(
            "How often does a kernel of 3 fit into 5 numbers? That is the size of y.",
            "宽为 3 的卷积核在 5 个数里能放几个位置？那就是 y 的大小。",
        ),
        Text(
            "The window at (i, j) is x[i : i + rows, j : j + columns], as large as the kernel.",
            "位置 (i, j) 的窗口是 x[i : i + 行数, j : j + 列数]，和卷积核一样大。",
        ),
        Text(
            "y = np.zeros(...), two loops, and y[i, j] = np.sum(window * w).",
            "y = np.zeros(...)，两重循环，y[i, j] = np.sum(window * w)。",
        ),
    ),
)
