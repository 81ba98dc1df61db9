"""The receptive field: what a unit can see, what it uses, and what a task needs.

python -m experiments.concepts.receptive_field
"""

import flax.linen as nn
import jax
import numpy as np

from cnn_jax import models
from cnn_jax.analysis.receptive_field import (
    effective_side,
    middle_gradient,
    receptive_fields,
)
from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from experiments.concepts import command
from experiments.concepts.old import (
    Concept,
    Effort,
    Expectation,
    Findings,
    Text,
    adam,
    half_width,
    mean_and_interval,
    percent,
)

DEPTHS = (2, 4, 8, 16, 32)
CHANNELS, LENGTH = 16, 97
SPAN = 10  # the task: at the last step, predict the sign of the value SPAN steps before
BLOCKS = (1, 2, 3, 4)  # numbers of blocks of a TCN with kernels of 2: they see 3, 7, 15, 31 steps


class Stack(nn.Module):
    """One-dimensional convolutions with kernels of 3 and ReLU, with random weights."""

    depth: int

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.he_normal()
        for i in range(self.depth):
            x = nn.relu(nn.Conv(CHANNELS, (3,), kernel_init=init, name=f"conv{i}")(x))
        return x


def measure(effort: Effort) -> Findings:
    sides, curves = {}, {}
    for depth in DEPTHS:
        weights = _effective(depth, effort.seeds)
        sides[depth] = np.array([effective_side(each) for each in weights])
        curves[depth] = np.mean(weights, axis=0)
    theory = {depth: _size(Stack(depth), CHANNELS) for depth in DEPTHS}
    right, sees = {}, {}
    for blocks in BLOCKS:
        model = models.create("tcn", num_classes=2, channels=(16,) * blocks, kernel=2, drop_rate=0)
        backbone = models.create("tcn", num_classes=None, channels=(16,) * blocks, kernel=2)
        sees[blocks] = _size(backbone, 1)
        train, test = _signs(8192, 0), _signs(2048, 1)
        trained = train_replicas(
            model,
            classification(2),
            adam,
            train,
            seeds=effort.seeds,
            steps=effort.steps(600, 3000),
            batch_size=64,
            learning_rates=[5e-3],
        )
        logits = predict_replicas(model, trained.variables, test["image"])
        right[blocks] = accuracies(logits, test["label"])
    slopes = [
        np.polyfit(np.log(DEPTHS), np.log([sides[depth][i] for depth in DEPTHS]), 1)[0]
        for i in range(len(effort.seeds))
    ]
    rows = [
        [f"{depth}", str(theory[depth]), mean_and_interval(sides[depth]), ""] for depth in DEPTHS
    ] + [[f"TCN, {b}", str(sees[b]), "", percent(right[b])] for b in BLOCKS]
    return Findings(
        headings=[
            Text("layers", "层数"),
            Text("theoretical field", "理论感受野"),
            Text("effective field (95 %)", "有效感受野（95%）"),
            Text(f"accuracy, span {SPAN + 1}", f"准确率（跨度 {SPAN + 1}）"),
        ],
        rows=rows,
        expectations=_expectations(theory, sides, np.array(slopes), right, sees),
        draw=lambda figure: _draw(figure, theory, sides, curves, right, sees),
    )


def _size(model: nn.Module, channels: int) -> int:
    *_, last = receptive_fields(model, rank=1, channels=channels).values()
    assert last.size is not None
    return last.size


def _effective(depth: int, seeds: range) -> list[np.ndarray]:
    model = Stack(depth)

    @jax.jit
    def gradient(key):
        x = jax.random.normal(key, (32, LENGTH, CHANNELS))
        return middle_gradient(model, model.init(key, x[:1]), x)

    found = [np.asarray(gradient(jax.random.key(seed)), np.float64) for seed in seeds]
    return [each / each.sum() for each in found]


def _signs(examples: int, seed: int) -> dict[str, np.ndarray]:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (examples, 16, 1)).astype(np.float32)
    return {"image": signs, "label": (signs[:, -1 - SPAN, 0] > 0).astype(np.int32)}


def _expectations(theory, sides, slopes, right, sees) -> list[Expectation]:
    deep = DEPTHS[-1]
    short = [b for b in BLOCKS if sees[b] <= SPAN]
    far = [b for b in BLOCKS if sees[b] > SPAN]
    return [
        Expectation(
            Text("Layers of 3 see 1 + 2 per layer", "每层 3 的卷积看到 1 + 2 × 层数"),
            str([1 + 2 * depth for depth in DEPTHS]),
            str(list(theory.values())),
            all(theory[depth] == 1 + 2 * depth for depth in DEPTHS),
        ),
        Expectation(
            Text(
                "The part that is used grows with the square root of the depth (Luo 2016),",
                "真正用到的范围随深度的平方根增长（Luo 2016）",
            ),
            "exponent 0.5 ± 0.15",
            mean_and_interval(slopes, digits=2),
            abs(slopes.mean() - 0.5) <= 0.15,
        ),
        Expectation(
            Text("so in a deep network it is small", "所以在深层网络里只占一小部分"),
            f"< {theory[deep] / 2:.1f}",
            mean_and_interval(sides[deep]),
            sides[deep].max() < theory[deep] / 2,
        ),
        Expectation(
            Text(
                "A network that does not see the step that matters can only guess,",
                "看不到关键时刻的网络只能猜",
            ),
            "50 ± 4 %",
            ", ".join(percent(right[b]) for b in short),
            all(abs(right[b].mean() - 0.5) < 0.04 for b in short),
        ),
        Expectation(
            Text("and one that sees it learns it", "看得到的就能学会"),
            "> 95 %",
            ", ".join(percent(right[b]) for b in far),
            all(right[b].mean() > 0.95 for b in far),
        ),
    ]


def _draw(figure, theory, sides, curves, right, sees) -> None:
    left, middle, last = figure.subplots(1, 3)
    for depth in DEPTHS:
        left.plot(np.arange(LENGTH) - LENGTH // 2, curves[depth], label=f"{depth} layers")
    left.set(xlabel="place", ylabel="share of the gradient", xlim=(-20, 20))
    left.legend(fontsize=8)
    middle.loglog(DEPTHS, [theory[d] for d in DEPTHS], "o-", label="theoretical")
    errors = [half_width(sides[d]) for d in DEPTHS]
    middle.errorbar(DEPTHS, [sides[d].mean() for d in DEPTHS], errors, fmt="o-", label="effective")
    middle.set(xlabel="layers", ylabel="field")
    middle.legend()
    last.plot([sees[b] for b in BLOCKS], [100 * right[b].mean() for b in BLOCKS], "o-")
    last.axvline(SPAN + 1, color="gray", linestyle=":")
    last.set(xlabel="receptive field", ylabel="test accuracy (%)", ylim=(40, 102))


CONCEPT = Concept(
    name="receptive_field",
    title=Text("The receptive field", "感受野"),
    question=Text(
        "Each layer lets a unit see a little further. How far does it see, how much of that "
        "does it use, and what happens if a task needs more?",
        "每一层都让单元看得更远一点。它能看多远，真正用到多少，任务需要更多时又会怎样？",
    ),
    answer=Text(
        "A unit that is connected to an input need not make much use of it. Many paths through the "
        "layers lead to the middle of the field and only one to its edge, so the influence has the "
        "shape of a bell. But no training can learn what lies outside the field. Strides, and "
        "dilation (gaps between the inputs of a kernel), widen the field faster than depth does.",
        "连通不等于充分利用：通往感受野中心的路径很多，通往边缘的只有一条，所以影响呈钟形。"
        "而在它之外的东西，怎样训练也学不到。步长和空洞卷积（卷积核的输入之间留有间隔）"
        "比加深更快地扩大感受野。",
    ),
    measure=measure,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
