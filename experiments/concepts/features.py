"""What the layers learn: filters, maps, the patches that excite them, and Grad-CAM.

python -m experiments.concepts.features
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.analysis.cam import grad_cam
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
    mean_and_interval,
    on_canvas,
    percent,
)

SIDE, KERNEL, SHOWN = 16, 5, 8
EXAMPLES = 200  # examples on which Grad-CAM is measured


class Network(nn.Module):
    """Three convolutions, a global mean and a dense layer, for digits anywhere on 16x16."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(SHOWN, (KERNEL, KERNEL), name="conv1")(x))
        x = nn.relu(nn.Conv(24, (3, 3), strides=2, name="conv2")(x))
        x = nn.relu(nn.Conv(32, (3, 3), name="conv3")(x))  # [B, 8, 8, 32]
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def measure(effort: Effort) -> Findings:
    train, test = (
        on_canvas(digits(part), SIDE, seed=i) for i, part in enumerate(("train", "test"))
    )
    model = Network()
    trained = train_replicas(
        model,
        classification(10),
        adam,
        {name: train[name] for name in ("image", "label")},
        seeds=effort.seeds,
        steps=effort.steps(800, 4000),
        batch_size=64,
        learning_rates=[3e-3],
    )
    right = accuracies(predict_replicas(model, trained.variables, test["image"]), test["label"])
    image, place = test["image"][:EXAMPLES], test["place"][:EXAMPLES]
    cam = jax.jit(lambda variables: grad_cam(model, variables, jnp.asarray(image), layer="conv3"))
    looks, begins, alike, maps = [], [], [], []
    for run, seed in enumerate(effort.seeds):
        own = jax.tree.map(lambda leaf, run=run: leaf[run], trained.variables)
        random = model.init(jax.random.key(1000 + seed), image[:1], train=False)
        learnt, other = np.asarray(cam(own)), np.asarray(cam(random))
        maps.append(learnt)
        looks.append(_inside(learnt, place))
        begins.append(_inside(other, place))
        alike.append(np.corrcoef(learnt.ravel(), other.ravel())[0, 1])
    looked, begun, same = np.array(looks), np.array(begins), np.array(alike)
    area = (8 / SIDE) ** 2
    first = jax.tree.map(lambda leaf: leaf[0], trained.variables)
    return Findings(
        headings=[Text("figure", "指标"), Text("value", "数值")],
        rows=[
            ["accuracy, digits anywhere on 16x16", percent(right)],
            ["Grad-CAM inside the digit's square", percent(looked)],
            ["the same, random weights", percent(begun)],
            ["the square's share of the image", f"{100 * area:.1f} %"],
            ["correlation of the two maps", mean_and_interval(same, digits=2)],
        ],
        expectations=[
            Expectation(
                Text("The network looks at the digit,", "网络看的是数字所在之处"),
                f"> {200 * area:.0f} % (twice the area)",
                percent(looked),
                bool(looked.mean() > 2 * area),
            ),
            Expectation(
                Text(
                    "and has learnt to: with random weights Grad-CAM lies there less",
                    "而且是学来的：随机权重的 Grad-CAM 较少落在那里",
                ),
                f"> {percent(begun)}",
                percent(looked),
                above(looked, begun),
            ),
            Expectation(
                Text(
                    "Grad-CAM passes the sanity check of Adebayo 2018: it depends on the weights",
                    "Grad-CAM 通过 Adebayo 2018 的检验：它取决于权重",
                ),
                "correlation < 0.7",
                mean_and_interval(same, digits=2),
                bool(same.mean() < 0.7),
            ),
        ],
        draw=lambda figure: _draw(figure, model, first, test["image"], maps[0]),
        size=(9.0, 6.0),
    )


def _inside(maps: np.ndarray, place: np.ndarray) -> float:
    """The fraction of the maps [B, 8, 8] within the squares of 8x8 pixels at `place` [B, 2]."""
    fine = maps.repeat(SIDE // maps.shape[1], 1).repeat(SIDE // maps.shape[2], 2)  # [B, 16, 16]
    along = np.arange(SIDE)
    within = (along >= place[..., None]) & (along < place[..., None] + 8)  # [B, 2, 16]
    square = within[:, 0, :, None] & within[:, 1, None, :]
    total = fine.sum((1, 2))
    return float(((fine * square).sum((1, 2)) / np.maximum(total, 1e-9))[total > 0].mean())


def _draw(figure, model, variables, images, maps) -> None:
    """Draws four rows: filters, their maps of an image, patches that excite them, Grad-CAM."""
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])[:, :, 0]  # [5, 5, SHOWN]
    _, kept = model.apply(
        variables, images, train=False, capture_intermediates=lambda m, _: m.name == "conv1",
        mutable=["intermediates"],
    )  # fmt: skip
    answers = np.asarray(kept["intermediates"]["conv1"]["__call__"][0])  # [B, 16, 16, SHOWN]
    axes = figure.subplots(4, SHOWN)
    half = KERNEL // 2
    padded = np.pad(images[..., 0], ((0, 0), (half, half), (half, half)))
    for i in range(SHOWN):
        which, top, left = np.unravel_index(answers[..., i].argmax(), answers.shape[:3])
        shown = (
            kernel[..., i],
            np.maximum(answers[0, ..., i], 0),
            padded[which, top : top + KERNEL, left : left + KERNEL],
            images[i, ..., 0],
        )
        for row, picture in enumerate(shown):
            axes[row, i].imshow(picture, cmap="gray")
            axes[row, i].set_axis_off()
        extent = (-0.5, SIDE - 0.5, SIDE - 0.5, -0.5)
        axes[3, i].imshow(maps[i], cmap="inferno", alpha=0.5, extent=extent)
    for row, title in enumerate(("filters", "their maps", "what excites them", "Grad-CAM")):
        axes[row, 0].set_title(title, fontsize=9, loc="left")


CONCEPT = Concept(
    name="features",
    title=Text("What the layers learn", "各层学到了什么"),
    question=Text(
        "Nobody told the network what to look for. What have its filters become, what excites "
        "them, and which part of the image decides the prediction?",
        "没有人告诉网络要找什么。它的滤波器变成了什么样，什么会激活它们，它的判断来自图像的哪里？",
    ),
    answer=Text(
        "The first layer responds to strokes and edges of different directions, wherever they "
        "occur. The last one, weighted by its gradients, points at the digit. Such a map deserves "
        "trust only if it changes when the weights are random: that is checked too.",
        "第一层对不同方向的笔画和边缘有反应，无论出现在哪里。最后一层按梯度加权后指向数字所在之处。"
        "只有当权重随机化后这种图会改变，它才值得相信：这一点也检查了。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
