"""Exercise 8: a gradient that vanishes, by hand."""

import numpy as np

from experiments.concepts.exercises.exercise import Exercise, Function, mistake
from experiments.concepts.frame.lesson import Text

SLOPES = Function(
    signature="slopes(x)",
    doc=Text(
        "The slopes (derivatives) at each x [n] of two activations: the sigmoid 1 / (1 + e^-x),\n"
        "and ReLU, max(x, 0). Return both, each [n].",
        "两个激活函数在每个 x [n] 处的斜率（导数）：sigmoid，即 1 / (1 + e^-x)；\n"
        "ReLU，即 max(x, 0)。依次返回，各为 [n]。",
    ),
    body="""
        s = 1 / (1 + np.exp(-x))
        return s * (1 - s), (x > 0).astype(float)
    """,
    cases=lambda: [(np.array([-2.0, -0.5, 0.5, 3.0]),), (np.array([-6.0, 1.0, 6.0]),)],
    returns=("sigmoid", "relu"),
    mistakes=(
        mistake(
            "That is the sigmoid itself; its slope is s * (1 - s), with s the sigmoid of x.",
            "这是 sigmoid 本身；它的斜率是 s * (1 - s)，其中 s 是 x 的 sigmoid。",
            ("s * (1 - s)", "s"),
        ),
        mistake(
            "x * (1 - x) takes x for the sigmoid of x: first s, then s * (1 - s).",
            "x * (1 - x) 把 x 当成了 sigmoid(x)：先算 s，再算 s * (1 - s)。",
            ("s * (1 - s)", "x * (1 - x)"),
        ),
        mistake(
            "That is ReLU itself; its slope is 1 where x is positive, and 0 elsewhere.",
            "这是 ReLU 本身；它的斜率在 x 为正处是 1，其余是 0。",
            ("(x > 0).astype(float)", "np.maximum(x, 0)"),
        ),
        mistake(
            "For negative x ReLU is flat, so that its slope is 0, not -1.",
            "x 为负时 ReLU 是平的，斜率是 0，不是 -1。",
            ("(x > 0).astype(float)", "np.sign(x)"),
        ),
        mistake(
            "The sigmoid rises everywhere, so that its slope is positive: s * (1 - s).",
            "sigmoid 处处上升，所以斜率是正的：s * (1 - s)。",
            ("s * (1 - s)", "-s * (1 - s)"),
        ),
        mistake(
            "The two are in the wrong order: first the sigmoid, then ReLU.",
            "两者的顺序反了：先 sigmoid，后 ReLU。",
            (
                "s * (1 - s), (x > 0).astype(float)",
                "(x > 0).astype(float), s * (1 - s)",
            ),
        ),
    ),
)


CHAIN = Function(
    signature="gradient(x, weights)",
    doc=Text(
        "A chain of layers with one unit each: x becomes sigmoid(w * x), for each w in turn.\n"
        "The slope of the last value by the first x: one number, by hand.",
        "一串每层只有一个单元的层：依次用每个 w，把 x 变成 sigmoid(w * x)。\n"
        "返回最后的值对最初的 x 的导数：一个数，要亲手推导。",
    ),
    body="""
        slope = 1.0
        for w in weights:
            x = 1 / (1 + np.exp(-w * x))
            slope *= w * x * (1 - x)
        return slope
    """,
    cases=lambda: [
        (0.5, (2.0,)),
        (1.0, (1.5, -2.0)),
        (0.3, (1.0, 2.0, 0.5, -1.5)),
        (0.5, (1.2,) * 12),
    ],
    returns=("slope",),
    mistakes=(
        mistake(
            "The weights are missing: the slope of sigmoid(w * x) by x is w * s * (1 - s).",
            "少了权重：sigmoid(w * x) 对 x 的导数是 w * s * (1 - s)。",
            ("w * x * (1 - x)", "x * (1 - x)"),
        ),
        mistake(
            "The slopes of the activations are missing: each layer gives w times s * (1 - s), "
            "which "
            "is at most 1/4.",
            "少了激活函数的斜率：每层的因子是 w 乘以 s * (1 - s)，后者最大只有 1/4。",
            ("w * x * (1 - x)", "w"),
        ),
        mistake(
            "The slope is taken at what goes into the layer: first x = sigmoid(w * x), then "
            "x * (1 - x).",
            "斜率用的是进入这一层之前的值：先算 x = sigmoid(w * x)，再算 x * (1 - x)。",
            (
                "x = 1 / (1 + np.exp(-w * x))\n            slope *= w * x * (1 - x)",
                "slope *= w * x * (1 - x)\n            x = 1 / (1 + np.exp(-w * x))",
            ),
        ),
        mistake(
            "The slopes of the layers are added: the chain rule multiplies them.",
            "各层的斜率相加了：链式法则是相乘。",
            ("slope = 1.0", "slope = 0.0"),
            ("slope *=", "slope +="),
        ),
        mistake(
            "Only the last layer counts: multiply the slopes of all of them.",
            "只算了最后一层：要把所有层的斜率乘起来。",
            ("slope *=", "slope ="),
        ),
        mistake(
            "That is the last value, not its slope.",
            "这是最后的值，不是它的导数。",
            ("return slope", "return x"),
        ),
    ),
)


EXERCISE = Exercise(
    number=8,
    section="gradients",
    title=Text("A gradient that vanishes, by hand", "亲手算一次梯度消失"),
    task=Text(
        "Learning needs the slope of the loss by every weight, and the slope is a product: one "
        "factor for each layer. Find the factor of an activation, then multiply twelve of them, "
        "and "
        "see what is left. It is checked against jax.grad.",
        "学习需要知道损失对每个权重的导数，而这个导数是连乘的积：每层一个因子。"
        "先求激活函数的因子，再乘上十二个，看看还剩多少。结果与 jax.grad 对照。",
    ),
    functions=(SLOPES, CHAIN),
    hints=(
        Text(
            "With s = sigmoid(x), its slope is s * (1 - s): 1/4 at most, at x = 0.",
            "设 s = sigmoid(x)，它的斜率是 s * (1 - s)：在 x = 0 处最大，为 1/4。",
        ),
        Text(
            "Chain rule: the slope of f(g(x)) is f'(g(x)) * g'(x). Go along the chain and keep the "
            "product so far.",
            "链式法则：f(g(x)) 的导数是 f'(g(x)) * g'(x)。沿着这串层走，一路记住目前的乘积。",
        ),
        Text(
            "In each layer: x = sigmoid(w * x), then slope = slope * w * x * (1 - x).",
            "每一层：先 x = sigmoid(w * x)，再 slope = slope * w * x * (1 - x)。",
        ),
    ),
)
