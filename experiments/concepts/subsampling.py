"""Subsampling (none, strided, max, mean, blurred), and the effect of shifting the image.

python -m experiments.concepts.subsampling
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.analysis import summary
from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from experiments.concepts import command
from experiments.concepts.old import (
    Concept,
    Effort,
    Expectation,
    Findings,
    Text,
    above,
    adam,
    digits,
    on_canvas,
    percent,
)

KINDS = ("none", "strided", "max", "mean", "blurred")
SIDE = 16
SHIFTS = (0, 1, 2, 3, 4)  # pixels, down and to the right
BATCH, RATE = 64, 3e-3


class Network(nn.Module):
    """Three 3x3 convolutions, two of them followed by subsampling by 2; a mean; a dense layer.

    Images wrap around at the borders, so a shift moves everything and loses nothing.
    """

    kind: str

    @nn.compact
    def __call__(self, x, *, train):
        for i, width in enumerate((16, 32), start=1):
            stride = 2 if self.kind == "strided" else 1
            conv = nn.Conv(width, (3, 3), strides=stride, padding="CIRCULAR", name=f"conv{i}")
            x = subsample(nn.relu(conv(x)), self.kind)
        x = nn.relu(nn.Conv(32, (3, 3), padding="CIRCULAR", name="conv3")(x))
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def subsample(x, kind: str):
    """[B, H, W, C] -> [B, H / 2, W / 2, C], for the kinds that follow the convolution."""
    if kind == "max":
        return nn.max_pool(x, (2, 2), (2, 2))
    if kind == "mean":
        return nn.avg_pool(x, (2, 2), (2, 2))
    if kind == "blurred":  # Zhang 2019, arXiv:1904.11486: [1, 2, 1] / 4, then every second
        for axis in (1, 2):
            x = (jnp.roll(x, 1, axis) + 2 * x + jnp.roll(x, -1, axis)) / 4
        return x[:, ::2, ::2]
    return x


def measure(effort: Effort) -> Findings:
    train, test = (on_canvas(digits(part), SIDE) for part in ("train", "test"))
    right, same, cost = {}, {}, {}
    for kind in KINDS:
        model = Network(kind)
        trained = train_replicas(
            model,
            classification(10),
            adam,
            {name: train[name] for name in ("image", "label")},
            seeds=effort.seeds,
            steps=effort.steps(300, 2000),
            batch_size=BATCH,
            learning_rates=[RATE],
        )
        said = []
        for shift in SHIFTS:
            moved = np.roll(test["image"], (shift, shift), (1, 2))
            logits = predict_replicas(model, trained.variables, moved)
            right[kind, shift] = accuracies(logits, test["label"])
            said.append(logits.argmax(-1))
        for shift in SHIFTS:
            same[kind, shift] = (said[shift] == said[0]).mean(-1)  # [seeds]
        layers = summary.summarise(model, (SIDE, SIDE, 1))
        cost[kind] = summary.total(layers)["multiply_adds"]
    return Findings(
        headings=[
            Text("subsampling", "下采样"),
            Text("accuracy", "准确率"),
            Text("same answer, shift 1", "平移 1 像素后答案不变"),
            Text("shift 2", "平移 2"),
            Text("shift 4", "平移 4"),
            Text("multiply-adds", "乘加次数"),
        ],
        rows=[
            [
                kind,
                percent(right[kind, 0]),
                *(percent(same[kind, shift]) for shift in (1, 2, 4)),
                f"{cost[kind]:,}",
            ]
            for kind in KINDS
        ],
        expectations=_expectations(right, same, cost),
        draw=lambda figure: _draw(figure, right, same),
    )


def _expectations(right, same, cost) -> list[Expectation]:
    return [
        Expectation(
            Text(
                "Without subsampling, a shift does not change the answer: convolution is "
                "equivariant, and the mean over all positions is invariant",
                "不做下采样时平移不改变答案：卷积是等变的，全局平均是不变的",
            ),
            "100 %",
            percent(same["none", 1]),
            same["none", 1].min() > 0.999,
        ),
        Expectation(
            Text(
                "A shift by 4, the product of the strides, never changes it",
                "平移 4（步长之积）从不改变答案",
            ),
            "100 %",
            ", ".join(percent(same[kind, 4]) for kind in KINDS),
            min(same[kind, 4].min() for kind in KINDS) > 0.999,
        ),
        Expectation(
            Text(
                "A shift by 1 changes it if every second value is dropped",
                "每两个值丢弃一个时，平移 1 会改变答案",
            ),
            "< 100 %",
            percent(same["strided", 1]),
            same["strided", 1].max() < 1,
        ),
        Expectation(
            Text("Blurring before dropping values helps", "丢弃之前先模糊会有帮助"),
            f"> {percent(same['strided', 1])}",
            percent(same["blurred", 1]),
            above(same["blurred", 1], same["strided", 1]),
        ),
        Expectation(
            Text("Max pooling withstands it better than strides", "最大池化比步长更稳"),
            f"> {percent(same['strided', 1])}",
            percent(same["max", 1]),
            above(same["max", 1], same["strided", 1]),
        ),
        Expectation(
            Text("Subsampling by strides is several times cheaper", "用步长做下采样计算量小好几倍"),
            "> 4 x",
            f"{cost['none'] / cost['strided']:.1f} x",
            cost["none"] > 4 * cost["strided"],
        ),
    ]


def _draw(figure, right, same) -> None:
    left, middle = figure.subplots(1, 2)
    for kind in KINDS:
        left.plot(SHIFTS, [100 * right[kind, s].mean() for s in SHIFTS], "o-", label=kind)
        middle.plot(SHIFTS, [100 * same[kind, s].mean() for s in SHIFTS], "o-", label=kind)
    left.set(xlabel="shift (pixels)", ylabel="test accuracy (%)")
    middle.set(xlabel="shift (pixels)", ylabel="same answer as unshifted (%)")
    left.legend()


CONCEPT = Concept(
    name="subsampling",
    title=Text("Subsampling, and shifting the image", "下采样与图像平移"),
    question=Text(
        "Pooling and strides make the maps smaller: the next layer sees further, with less work. "
        "It is often said that they also make a network insensitive to shifts. Do they?",
        "池化和步长让特征图变小：下一层看得更远，计算更少。人们常说它们还让网络对平移不敏感。是这样吗？",
    ),
    answer=Text(
        "Convolution itself follows a shift exactly: move the image, and the maps move with it "
        "(equivariance). Keeping every second value breaks this: "
        "after a shift by one pixel, the other half is kept. Blurring first, or taking the largest "
        "of each window, repairs part of it; subsampling saves work and widens the view.",
        "卷积本身会精确地跟随平移：图像移动，特征图随之移动（等变性）。破坏这一点的是隔一个取一个：平移一个像素，留下的就是另一半。"
        "先模糊，或在窗口内取最大值，可以弥补一部分；下采样真正换来的是更少的计算和更大的视野。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
