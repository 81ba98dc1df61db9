"""Exercise 4: a convolution as a matrix."""

from experiments.concepts.exercises.exercise import Exercise, Function, mistake, whole_numbers
from experiments.concepts.frame.lesson import Text

MATRIX = Function(
    signature="matrix(w, n)",
    doc=Text(
        "The matrix m [n - k + 1, n] with m @ x = the convolution of x [n] with the kernel w [k]:\n"
        "each row is a window at one place, and zero elsewhere.",
        "矩阵 m [n - k + 1, n]，使 m @ x 等于 x [n] 与卷积核 w [k] 的卷积：\n"
        "每一行是放在一个位置上的窗口，其余为零。",
    ),
    body="""
        k = len(w)
        m = np.zeros((n - k + 1, n))
        for i in range(n - k + 1):
            m[i, i : i + k] = w
        return m
    """,
    cases=lambda: [
        (whole_numbers(2, 2, low=1), 4),
        (whole_numbers(11, 3, low=1, high=9), 6),
        (whole_numbers(12, 4, low=1, high=9), 5),
    ],
    mistakes=(
        mistake(
            "The kernel is flipped in each row: networks lay it on as it is.",
            "每一行里卷积核都翻转了：神经网络里卷积核不翻转。",
            ("= w", "= w[::-1]"),
        ),
        mistake(
            "The matrix is transposed: a row for each place of the window, a column for each "
            "number of x.",
            "矩阵转置了：窗口的每个位置是一行，x 的每个数是一列。",
            ("return m", "return m.T"),
        ),
        mistake(
            "Every row has its window at the start: the window moves by one from row to row.",
            "每一行的窗口都放在开头：每往下一行，窗口要移动一格。",
            ("m[i, i : i + k]", "m[i, :k]"),
        ),
        mistake(
            "The window runs over the end and comes in again at the start: it must stay inside, so "
            "there are n - k + 1 rows.",
            "窗口伸出末尾后又从开头绕了回来：窗口不能出界，所以只有 n - k + 1 行。",
            ("np.zeros((n - k + 1, n))", "np.zeros((n, n))"),
            ("range(n - k + 1)", "range(n)"),
            ("m[i, i : i + k] = w", "m[i, np.arange(i, i + k) % n] = w"),
        ),
        mistake(
            "The last row is missing: there are n - k + 1 places, not n - k.",
            "少了最后一行：一共有 n - k + 1 个位置，不是 n - k。",
            ("n - k + 1", "n - k"),
        ),
        mistake(
            "The numbers behind the window are filled too: a window has k numbers.",
            "窗口后面的数也被填上了：一个窗口只有 k 个数。",
            ("m[i, i : i + k] = w", "m[i, i:] = np.resize(w, n - i)"),
        ),
    ),
)


WEIGHTS = Function(
    signature="weights(n, k)",
    doc=Text(
        "Different weights of three layers from n numbers to n - k + 1: fully connected; local\n"
        "(windows of k, each with its own weights); convolutional (windows that share them).",
        "从 n 个数到 n - k + 1 个数的三种层各有多少个不同的权重：全连接；局部连接\n"
        "（窗口宽 k，每个窗口有自己的权重）；卷积（所有窗口共享权重）。不算偏置。",
    ),
    body="""
        places = n - k + 1
        return places * n, places * k, k
    """,
    cases=lambda: [(4, 2), (10, 3), (100, 5)],
    returns=("fully_connected", "local", "shared"),
    mistakes=(
        mistake(
            "There are n - k + 1 places for the window, not n.",
            "窗口有 n - k + 1 个位置，不是 n 个。",
            ("n - k + 1", "n"),
        ),
        mistake(
            "There are n - k + 1 places for the window, not n - k.",
            "窗口有 n - k + 1 个位置，不是 n - k 个。",
            ("n - k + 1", "n - k"),
        ),
        mistake(
            "Shared weights are counted once, not once for each place.",
            "共享的权重只算一次，不是每个位置算一次。",
            ("places * k, k", "places * k, places * k"),
        ),
        mistake(
            "The biases are counted too: here only weights are asked.",
            "偏置也算进去了：这里只数权重。",
            ("places * n, places * k, k", "places * (n + 1), places * (k + 1), k + 1"),
        ),
        mistake(
            "The three are in the wrong order: fully connected, local, shared.",
            "三个数的顺序反了：全连接、局部连接、共享。",
            ("places * n, places * k, k", "k, places * k, places * n"),
        ),
    ),
)


EXERCISE = Exercise(
    number=4,
    section="weight_sharing",
    title=Text("A convolution is a matrix with few weights", "卷积是一个权重很少的矩阵"),
    task=Text(
        "A fully connected layer is any matrix. Make it local, and most of it is zero; share the "
        "weights, and all rows are the same row, moved. Write that matrix, and count the weights "
        "that are different in each of the three.",
        "全连接层可以是任意矩阵。改成局部连接，矩阵里大部分是零；再共享权重，"
        "每一行都是同一行移动得来的。"
        "写出这个矩阵，再数一数三种层里不同的权重各有多少个。",
    ),
    functions=(MATRIX, WEIGHTS),
    hints=(
        Text(
            "Row i has the kernel at columns i to i + k - 1.",
            "第 i 行的卷积核在第 i 列到第 i + k - 1 列。",
        ),
        Text(
            "Fully connected: rows times columns. Local: rows times k. Shared: one row's worth.",
            "全连接：行数乘列数。局部连接：行数乘 k。共享：一行的权重。",
        ),
    ),
)
