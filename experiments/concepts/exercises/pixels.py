"""Exercise 1: an image is numbers."""

import numpy as np

from experiments.concepts.exercises.exercise import Case, Exercise, Function, mistake
from experiments.concepts.frame.lesson import Text


def _images() -> list[Case]:
    random = np.random.default_rng(0)
    bright = np.array([[[200, 100, 60], [30, 0, 90]], [[255, 255, 255], [0, 0, 0]]], np.uint8)
    return [(bright,), (random.integers(0, 256, (3, 5, 3), dtype=np.uint8),)]


GREY = Function(
    signature="grey(image)",
    doc=Text(
        "Colour to grey: uint8 [height, width, 3], 0 to 255 -> float [height, width], 0 to 1:\n"
        "the mean of red, green and blue.",
        "彩色变灰度：uint8 [高, 宽, 3]，取值 0 到 255 -> 浮点数 [高, 宽]，取值 0 到 1：\n"
        "红、绿、蓝三个数的平均值。",
    ),
    body="return image.astype(float).mean(axis=2) / 255",
    cases=_images,
    mistakes=(
        mistake(
            "The sum of red, green and blue is taken in 8 bits: 200 + 100 gives 44, since 256 is 0 "
            "again. Convert first: image.astype(float).",
            "红、绿、蓝是在 8 位整数里相加的：200 + 100 得 44，因为到 256 就回到 0。"
            "先转换：image.astype(float)。",
            (
                "image.astype(float).mean(axis=2)",
                "(image[..., 0] + image[..., 1] + image[..., 2]) / 3",
            ),
        ),
        mistake(
            "The values are still 0 to 255: divide by 255.",
            "数值还是 0 到 255：要除以 255。",
            (" / 255", ""),
        ),
        mistake(
            "White must become 1, and 255 is white: divide by 255, not by 256.",
            "白色应该变成 1，而白色是 255：除以 255，不是 256。",
            ("255", "256"),
        ),
        mistake(
            "The mean is over the rows (axis 0): the colours are the last axis, 2.",
            "平均值是沿着行（第 0 轴）算的：颜色在最后一个轴，即第 2 轴。",
            ("axis=2", "axis=0"),
        ),
        mistake(
            "The mean is over the columns (axis 1): the colours are the last axis, 2.",
            "平均值是沿着列（第 1 轴）算的：颜色在最后一个轴，即第 2 轴。",
            ("axis=2", "axis=1"),
        ),
        mistake(
            "The colours are added, not averaged: divide by 3.",
            "颜色只相加了，没有取平均：还要除以 3。",
            (".mean(", ".sum("),
        ),
        mistake(
            "These are weights for how bright a colour looks (0.299, 0.587, 0.114); asked is the "
            "plain mean.",
            "这是按人眼亮度加权（0.299、0.587、0.114）；这里要的是普通的平均值。",
            (
                "image.astype(float).mean(axis=2)",
                "(image.astype(float) @ np.array([0.299, 0.587, 0.114]))",
            ),
        ),
        mistake(
            "The result is rounded: keep the fractions, without astype(int) or //.",
            "结果被取整了：要保留小数，不要用 astype(int) 或 //。",
            ("image.astype(float).mean(axis=2)", "image.astype(int).sum(axis=2) // 3"),
        ),
    ),
)


EXERCISE = Exercise(
    number=1,
    section="pixels",
    title=Text("An image is numbers", "图片就是一堆数"),
    task=Text(
        "An image in colour is an array [height, width, 3]: for each pixel how red, green and blue "
        "it is, from 0 to 255 in 8 bits. Networks want numbers near 1. Make the image grey, with "
        "black at 0 and white at 1.",
        "一张彩色图片是一个数组 [高, 宽, 3]：每个像素有红、绿、蓝三个数，用 8 位整数表示，从 0 "
        "到 255。"
        "网络喜欢大小在 1 左右的数。把图片变成灰度图，黑是 0，白是 1。",
    ),
    functions=(GREY,),
    hints=(
        Text(
            "np.mean takes the axis to go along: which of the three has the colours?",
            "np.mean 可以指定沿哪个轴平均：三个轴里，哪个是颜色？",
        ),
        Text(
            "8 bits hold 0 to 255 and no more: image.astype(float) before you add.",
            "8 位整数只能存 0 到 255：相加之前先用 image.astype(float)。",
        ),
    ),
)
