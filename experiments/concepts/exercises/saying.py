"""The sentences of the checker, in both languages."""

from typing import NamedTuple

import numpy as np

from experiments.concepts.exercises.running import Failure
from experiments.concepts.frame.lesson import Text

SOLVED = Text("{name}: solved.", "{name}：正确。")
NEXT = Text(
    "Next: python -m experiments.concepts.exercises {number}",
    "下一题：python -m experiments.concepts.exercises {number}",
)
LAST = Text("That was the last one.", "这是最后一题。")
HINT = Text("A hint: the same command with --hint.", "想看提示：同一条命令加上 --hint。")
PRINTED = Text("Your code printed:", "你的代码打印了：")
TRY = Text("To try it:", "可以这样试：")
WRITTEN = Text(
    "{path} is written. Fill in the functions, then check them with the same command.",
    "已写好 {path}。把函数补全，然后用同一条命令检查。",
)
IS_THERE = Text("{path} is there already and stays as it is.", "{path} 已经存在，保持不变。")
BEGIN = Text("Replace this line by yours.", "把这一行换成你的代码。")
MEND = Text("Mend these lines.", "修好下面几行。")
CHECK = Text("To check it:", "检查：")
UNTOUCHED = Text("{function} is still as it was given.", "{function} 还是原来的样子。")
NOT_FILLED = Text(
    "{function} returns nothing yet: fill it in, and end it with return.",
    "{function} 还没有返回任何东西：把它补全，最后用 return 返回结果。",
)
MISSING = Text(
    "There is no function {function} in {file}: its first line is def {signature}:",
    "{file} 里没有函数 {function}：它的第一行是 def {signature}:",
)
RAISED = Text("{where}: {what}", "{where}：{what}")
RAISED_IN = Text("{where}, in {call}: {what}", "{where}，调用 {call}时：{what}")
ENDLESS = Text(
    "{call} was not done after {what} seconds: is there a loop that never ends?",
    "{call}运行了 {what} 秒还没有结束：是不是有一个永远不会停的循环？",
)
ENDLESS_FILE = Text(
    "{where} was not done after {what} seconds: is there a loop that never ends?",
    "{where} 运行了 {what} 秒还没有结束：是不是有一个永远不会停的循环？",
)
DIED = Text(
    "{call} ended the whole process (status {what}).", "{call}让整个进程结束了（状态 {what}）。"
)
TYPE = Text(
    "{call} returns a {what}: wanted is {wanted}.", "{call}返回的是 {what}：应该是{wanted}。"
)
COUNT = Text(
    "{call} returns {what} values: wanted are {count}, {names}.",
    "{call}返回了 {what} 个值：应该是 {count} 个，即 {names}。",
)
LARGE = Text(
    "{call} returns an array of shape {what}: wanted is {wanted}.",
    "{call}返回的数组形状是 {what}：应该是{wanted}。",
)
SHAPE = Text(
    "{call}: {name} has the shape {got}, wanted is {want}.",
    "{call}：{name} 的形状是 {got}，应该是 {want}。",
)
SHAPE_OF_NUMBER = Text(
    "{call}: {name} has the shape {got}, wanted is a single number.",
    "{call}：{name} 的形状是 {got}，应该是一个数。",
)
VALUE = Text(
    "{call}: {name} is {got}, wanted is {want}.", "{call}：{name} 是 {got}，应该是 {want}。"
)
CHANGED = Text(
    "{call} changes what it is given, which others still need: work on a copy, such as x.copy().",
    "{call}改动了传给它的参数：请在副本上操作，例如 x.copy()。",
)
A_NUMBER = Text("a number", "一个数")
AN_ARRAY = Text("an array of shape {shape}", "形状为 {shape} 的数组")

# What is told where none of an exercise's own mistakes is recognised.
SAME_NUMBERS = Text("The numbers are right, the shape is not.", "数都对，形状不对。")
TRANSPOSED = Text("Two axes are swapped.", "有两个轴对调了。")
SIGN = Text("Everything has the wrong sign.", "所有数的正负号都反了。")
FACTOR = Text("Everything is {by} times what is wanted.", "所有数都是正确值的 {by} 倍。")
OFFSET = Text("Everything is off by the same number, {by}.", "所有数都差同一个数：{by}。")
WHOLE = Text(
    "The numbers are cut to whole ones: an array of whole numbers, such as np.zeros(n, int), drops "
    "what is behind the point.",
    "小数部分被去掉了：整数数组（例如 np.zeros(n, int)）存不下小数。",
)
NOT_A_NUMBER = Text(
    "Some are nan: a 0 was divided by 0, or a root taken of a negative number.",
    "有些数是 nan：可能是 0 除以 0，或者对负数开了方。",
)
REVERSED = Text("The order is the other way round.", "顺序反了。")
FLIPPED = Text("An axis runs the other way round.", "有一个轴的方向反了。")


class Place(NamedTuple):
    """Where a failure was: the code and, if it was a call, which."""

    file: str
    call: str


def call(function: str, case: int, cases: int, language: str) -> str:
    """'conv2d (case 2 of 4)'."""
    return (
        Text("{f} (case {c} of {n})", "{f}（第 {c}/{n} 组）")
        .in_(language)
        .format(f=function, c=case + 1, n=cases)
    )


def failure(failed: Failure, place: Place, language: str, **more: str) -> str:
    """One line for what came in place of an answer."""
    line = Text(f", line {failed.line}", f" 第 {failed.line} 行").in_(language)
    where = place.file + (line if failed.line else "")
    sentences = {
        "raised": RAISED_IN if place.call else RAISED,
        "endless": ENDLESS if place.call else ENDLESS_FILE,
        "died": DIED,
        "nothing": NOT_FILLED,
        "type": TYPE,
        "count": COUNT,
        "large": LARGE,
    }
    values = {"where": where, "call": place.call or place.file, "what": failed.what, **more}
    return sentences[failed.kind].in_(language).format(**values)


def number(value: float) -> str:
    """A number as a reader would write it: 3, 0.25, 1.2e-07."""
    return f"{value:.6g}"


def wanted(array: np.ndarray, language: str) -> str:
    if array.ndim == 0:
        return A_NUMBER.in_(language)
    return AN_ARRAY.in_(language).format(shape=array.shape)
