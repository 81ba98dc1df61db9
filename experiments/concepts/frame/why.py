"""Sentences that explain why an expectation did not hold, from values of the same seeds."""

import numpy as np

from cnn_jax.analysis.interval import half_width
from experiments.concepts.frame.lesson import Text
from experiments.concepts.frame.spread import Values, points, spread


def joined(*texts: Text) -> Text:
    """One text after the other."""
    return Text(" ".join(text.en for text in texts), "".join(text.zh for text in texts))


def larger(a: Values, b: Values) -> bool:
    """Whether the mean of `a` is larger at all."""
    return float(np.mean(a)) > float(np.mean(b))


def by_seed(a: Values, b: Values, *, fractions: bool = False) -> Text:
    """How much `a` is above `b` for each seed, where it was not above by more than chance."""
    apart = np.asarray(a, float) - np.asarray(b, float)
    seeds = len(apart)
    shown = points(apart) if fractions else Text(*[spread(apart, digits=2)] * 2)
    if larger(a, b) and apart.mean() > half_width(apart):
        return Text(
            f"Seed by seed the difference is {shown.en}, always about the same. But the "
            "networks of different seeds differ by more than that, and the claim compares the two "
            "groups as if they had nothing in common. Within each network it would have held.",
            f"按随机种子逐一相减，差为 {shown.zh}，始终差不多。只是不同种子的网络之间差别更大，"
            "而这里把两组数当作互不相干来比较。若在每个网络内部比较，预期本可成立。",
        )
    if larger(a, b):
        return Text(
            f"Seed by seed the difference is {shown.en}: too uneven for {seeds} seeds to "
            "be sure of.",
            f"按随机种子逐一相减，差为 {shown.zh}：起伏太大，{seeds} 个种子还不足以下结论。",
        )
    return Text(
        f"Seed by seed the difference is {shown.en}: it points the other way.",
        f"按随机种子逐一相减，差为 {shown.zh}：方向与预期相反。",
    )
