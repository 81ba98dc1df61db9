"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim("by_hand", Text("The window in the diagram gives minus two", "图中的窗口算得负二"), "-2"),
    Claim("jax", Text("The loop computes what JAX does", "手写的循环与 JAX 的结果相同"), "< 1e-4"),
    Claim(
        "turned",
        Text(
            "It is the convolution of mathematics with the kernel turned by half a turn, and "
            "not with the kernel as it is",
            "把卷积核旋转半圈后，它就是数学上的卷积；不旋转则不是",
        ),
        "< 1e-9, > 0.1",
    ),
    Claim(
        "moves",
        Text(
            "If the image moves by one pixel, the map moves along ([[equivariance]])",
            "图像平移一个像素，特征图也跟着平移（[[equivariance|等变性]]）",
        ),
        "< 1e-6",
    ),
    Claim(
        "likeness",
        Text(
            "The windows with the largest answers look like the kernel: the cosine between the "
            "two is high",
            "结果最大的窗口长得像卷积核：两者之间的余弦很高",
        ),
        "> 0.7",
    ),
]
