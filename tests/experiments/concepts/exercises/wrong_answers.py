"""What learners write: for each exercise, functions with a typical mistake, and what is told of it.

Written for these tests, in other ways than the solutions of the exercises.
"""

from typing import NamedTuple


class Wrong(NamedTuple):
    """Attributes:
    number: of the exercise.
    code: replaces the solution's function of the same name.
    told: a part of what is told, in English.
    """

    number: int
    code: str
    told: str


WINDOWS = "from numpy.lib.stride_tricks import sliding_window_view as windows\n"

WRONG = [
    Wrong(
        1, "def grey(image):\n    r, g, b = image.T\n    return ((r + g + b) / 3 / 255).T", "8 bits"
    ),
    Wrong(1, "def grey(image):\n    return np.mean(image, axis=-1)", "divide by 255"),
    Wrong(1, "def grey(image):\n    return np.mean(image / 255, axis=0)", "axis 0"),
    Wrong(
        2,
        "def parameters(h, w, c, units, k):\n    return units * h * w * c, units * k**2 * c",
        "biases",
    ),
    Wrong(
        2,
        "def parameters(h, w, c, n, k):\n    return n * h * w * c + n, n * k * k + n",
        "all input channels",
    ),
    Wrong(
        2,
        "def parameters(h, w, c, n, k):\n    return n * h * w * c + n, (n * k * k * c + n) * w * h",
        "shared",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return (windows(x, w.shape) * np.flip(w)).sum((2, 3))",
        "flipped",
    ),
    Wrong(
        3,
        "def conv2d(x, w):\n    h, v = w.shape\n"
        "    return np.array([[(x[i:i+h, j:j+v] * w).sum() for j in range(x.shape[1] - v)]"
        " for i in range(x.shape[0] - h)])",
        "last row and the last column",
    ),
    Wrong(
        3,
        WINDOWS
        + "def conv2d(x, w):\n    return np.einsum('ijab,ba->ij', windows(x, w.T.shape), w)",
        "axes of the kernel are swapped",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return (windows(x, w.shape) * w).mean(axis=(-1, -2))",
        "averaged",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n"
        "    x = np.pad(x, [((k - 1) // 2, k // 2) for k in w.shape])\n"
        "    return (windows(x, w.shape) * w).sum((2, 3))",
        "padded with zeros",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    y = np.zeros(np.subtract(x.shape, w.shape) + 1, int)\n"
        "    y[:] = (windows(x, w.shape) * w).sum((2, 3))\n    return y",
        "cut to whole ones",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n"
        "    return (windows(x, w.shape) * w[::-1, ::-1]).sum((2, 3))[:-1, :-1]",
        "last row and the last column",  # and flipped: two at once
    ),
    Wrong(
        4,
        "def matrix(w, n):\n    k = len(w)\n"
        "    return np.array([[*[0] * i, *w, *[0] * (n - k - i)] for i in range(n - k + 1)]).T",
        "transposed",
    ),
    Wrong(
        4,
        "def matrix(w, n):\n    row = np.zeros(n)\n    row[: len(w)] = w[::-1]\n"
        "    return np.array([np.roll(row, i) for i in range(n - len(w) + 1)])",
        "flipped",
    ),
    Wrong(
        4,
        "def matrix(w, n):\n    row = np.zeros(n)\n    row[: len(w)] = w\n"
        "    return np.array([np.roll(row, i) for i in range(n)])",
        "comes in again",
    ),
    Wrong(5, "def output_size(n, k, s, p):\n    return int((n + p - k) / s) + 1", "both sides"),
    Wrong(
        5, "def output_size(n, k, s, p):\n    return (n + 2 * p - k) // s", "One place is missing"
    ),
    Wrong(
        5,
        "def output_size(n, k, s, p):\n    return int(np.ceil((n + 2 * p - k) / s)) + 1",
        "Rounded up",
    ),
    Wrong(
        5,
        WINDOWS + "def conv(x, w, stride, padding):\n"
        "    x = np.pad(x, ((padding,) * 2, (padding,) * 2, (0, 0)))\n"
        "    return np.einsum('ijcab,abcd->ijd', windows(x, w.shape[:2], (0, 1)), w)",
        "stride is forgotten",
    ),
    Wrong(
        5,
        WINDOWS + "def conv(x, w, stride, padding):\n"
        "    x = np.pad(x, ((0, 2 * padding), (0, 2 * padding), (0, 0)))\n"
        "    y = np.einsum('ijcab,abcd->ijd', windows(x, w.shape[:2], (0, 1)), w)\n"
        "    return y[::stride, ::stride]",
        "bottom and right",
    ),
    Wrong(
        5,
        WINDOWS + "def conv(x, w, stride, padding):\n"
        "    x = np.pad(x, ((padding, padding + 1), (padding, padding + 1), (0, 0)))[1:, 1:]\n"
        "    y = np.einsum('ijcab,abcd->ijd', windows(x, w.shape[:2], (0, 1)), w)\n"
        "    return y[::stride, ::stride]",
        "off by one",
    ),
    Wrong(
        5,
        WINDOWS + "def conv(x, w, stride, padding):\n"
        "    x = np.pad(x, ((padding,) * 2, (padding,) * 2, (0, 0)))\n"
        "    y = np.einsum('ijcab,abcd->ij', windows(x, w.shape[:2], (0, 1)), w)[..., None]\n"
        "    return (y + np.zeros(w.shape[3]))[::stride, ::stride]",
        "all outputs are the same",
    ),
    Wrong(
        6,
        "def max_pool(x):\n    a, b = x[::2], x[1::2]\n"
        "    return (a[:, ::2] + a[:, 1::2] + b[:, ::2] + b[:, 1::2]) / 4",
        "mean of each window",
    ),
    Wrong(
        6,
        WINDOWS + "def max_pool(x):\n    return windows(x, (2, 2)).max((2, 3))",
        "overlap",
    ),
    Wrong(6, "def gradient(x, dy):\n    return np.kron(dy, np.ones((2, 2)))", "All four"),
    Wrong(6, "def gradient(x, dy):\n    return np.kron(dy / 4, np.ones((2, 2)))", "mean pooling"),
    Wrong(
        6,
        "def gradient(x, dy):\n    return x == np.kron(max_pool(x), np.ones((2, 2)))",
        "chain rule",
    ),
    Wrong(6, "def apparent(frequency, factor):\n    return frequency * factor", "aliasing"),
    Wrong(
        6, "def apparent(frequency, factor):\n    return min(frequency * factor, 0.5)", "cut off"
    ),
    Wrong(
        7,
        "def receptive_field(kernels, strides):\n    return sum(kernels), int(np.prod(strides))",
        "windows are added",
    ),
    Wrong(
        7,
        "def receptive_field(kernels, strides):\n"
        "    return sum(kernels) - len(kernels) + 1, int(np.prod(strides))",
        "strides are forgotten",
    ),
    Wrong(
        7,
        "def receptive_field(kernels, strides):\n    r, j = 1, 1\n"
        "    for k, s in zip(kernels, strides):\n        j = j * s\n        r = r + (k - 1) * j\n"
        "    return r, j",
        "own stride",
    ),
    Wrong(
        8,
        "def slopes(x):\n    s = np.exp(x) / (1 + np.exp(x))\n    return s, np.where(x > 0, 1, 0)",
        "sigmoid itself",
    ),
    Wrong(
        8,
        "def gradient(x, weights):\n    product = 1\n    for w in weights:\n"
        "        x = np.exp(w * x) / (1 + np.exp(w * x))\n        product *= x - x * x\n"
        "    return product",
        "weights are missing",
    ),
    Wrong(8, "def gradient(x, weights):\n    return np.prod(weights)", "slopes of the activations"),
    Wrong(
        8,
        "def gradient(x, weights):\n    total = 0\n    for w in weights:\n"
        "        x = np.exp(w * x) / (1 + np.exp(w * x))\n        total += w * (x - x * x)\n"
        "    return total",
        "chain rule multiplies",
    ),
    *(
        Wrong(
            9,
            "def batch_norm(x, scale, shift, mean, variance, train, momentum, epsilon):\n" + body,
            told,
        )
        for body, told in [
            (
                "    if train:\n"
                "        mean = mean * momentum + x.mean((0, 1, 2)) * (1 - momentum)\n"
                "        variance = variance * momentum + x.var((0, 1, 2)) * (1 - momentum)\n"
                "    y = (x - mean) * (variance + epsilon) ** -0.5 * scale + shift\n"
                "    return y, mean, variance",
                "running statistics are used in training",
            ),
            (
                "    m, v = np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2))\n"
                "    y = (x - m) * (v + epsilon) ** -0.5 * scale + shift\n    if train:\n"
                "        mean = mean * momentum + m * (1 - momentum)\n"
                "        variance = variance * momentum + v * (1 - momentum)\n"
                "    return y, mean, variance",
                "own statistics are used in evaluation",
            ),
            (
                "    m, v = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (mean, variance)\n"
                "    y = (x - m) / (v**0.5 + epsilon) * scale + shift\n    if train:\n"
                "        mean = mean * momentum + m * (1 - momentum)\n"
                "        variance = variance * momentum + v * (1 - momentum)\n"
                "    return y, mean, variance",
                "under the root",
            ),
            (
                "    m, v = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (mean, variance)\n"
                "    y = (x - m) / (v + epsilon) ** 0.5 * scale + shift\n    if train:\n"
                "        mean = m * momentum + mean * (1 - momentum)\n"
                "        variance = v * momentum + variance * (1 - momentum)\n"
                "    return y, mean, variance",
                "other way round",
            ),
            (
                "    m, v = (x.mean((1, 2)), x.var((1, 2))) if train else (mean, variance)\n"
                "    if train:\n        m, v = m[:, None, None], v[:, None, None]\n"
                "    y = (x - m) / (v + epsilon) ** 0.5 * scale + shift\n    if train:\n"
                "        mean = mean * momentum + m * (1 - momentum)\n"
                "        variance = variance * momentum + v * (1 - momentum)\n"
                "    return y, mean, variance",
                "instance norm",
            ),
        ]
    ),
    Wrong(
        10,
        "def block(x, w1, w2):\n    h = (x @ w1).clip(0)\n    return x + (h @ w2).clip(0)",
        "after the last ReLU",
    ),
    Wrong(
        10,
        "def block(x, w1, w2):\n    return (x * ((x @ w1).clip(0) @ w2)).clip(0)",
        "multiplied",
    ),
    Wrong(
        10, "def gains(depth, factor):\n    return factor**depth, 1 + factor**depth", "own shortcut"
    ),
    Wrong(
        11,
        "def iou(a, b):\n    a, b = np.array(a), np.array(b)\n"
        "    w, h = np.minimum(a, b)[2:] - np.maximum(a, b)[:2]\n"
        "    return w * h / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - w * h)",
        "negative width",
    ),
    Wrong(
        11,
        "def iou(a, b):\n    a, b = np.array(a), np.array(b)\n"
        "    w, h = np.maximum(np.minimum(a, b)[2:] - np.maximum(a, b)[:2], 0)\n"
        "    return w * h / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))",
        "counted twice",
    ),
    Wrong(
        11,
        "def nms(boxes, scores, threshold):\n    order = sorted(range(len(scores)), "
        "key=lambda i: -scores[i])\n    return [i for n, i in enumerate(order) if not any("
        "iou(boxes[i], boxes[k]) > threshold for k in order[:n])]",
        "has gone still suppresses",
    ),
    Wrong(
        11,
        "def nms(boxes, scores, threshold):\n    kept = []\n    for i in range(len(boxes)):\n"
        "        if all(iou(boxes[i], boxes[k]) <= threshold for k in kept):\n"
        "            kept.append(i)\n    return np.array(kept)",
        "order of the list",
    ),
    Wrong(
        12,
        "def class_maps(features, weights):\n"
        "    return np.einsum('ijc,kc->ijk', features, weights)",
        "transposed",
    ),
    Wrong(
        12,
        "def read(maps):\n    return maps.sum(0).sum(0), np.argmax(maps, axis=-1)",
        "summed",
    ),
    Wrong(
        12,
        "def read(maps):\n    return np.average(maps, axis=(0, 1)), np.argmax(maps, axis=0)",
        "over the rows",
    ),
]

# Not one of them is a typical mistake of an exercise: the numbers alone tell.
BY_THE_NUMBERS = [
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return 2 * (windows(x, w.shape) * w).sum((2, 3))",
        "2 times what is wanted",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return (windows(x, w.shape) * w).sum((2, 3)) + 0.5",
        "off by the same number, 0.5",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return (windows(x, w.shape) * w).sum((2, 3)).ravel()",
        "the shape is not",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return -(windows(x, w.shape) * w).sum((2, 3))",
        "wrong sign",
    ),
    Wrong(
        3,
        WINDOWS + "def conv2d(x, w):\n    return (windows(x, w.shape) * w).sum((2, 3))[::-1]",
        "An axis runs the other way round",
    ),
    Wrong(3, "def conv2d(x, w):\n    return np.full((3, 3), np.nan)", "nan"),
    Wrong(
        3,
        WINDOWS
        + "def conv2d(x, w):\n    x[0] = 0\n    return (windows(x, w.shape) * w).sum((2, 3))",
        "changes what it is given",
    ),
]
