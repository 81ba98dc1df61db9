"""Residual connections: a sum in the place of a product.

python -m experiments.concepts.residual
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import accuracies, predict_replicas, train_replicas
from experiments.concepts import command
from experiments.concepts.data import mnist1d
from experiments.concepts.deep_chains import POSITIONS, WIDTH, Chain, inside, without
from experiments.concepts.lesson import (
    Chart,
    Claim,
    Concept,
    Effort,
    Findings,
    Outcome,
    Series,
    Table,
    Text,
    Words,
    chosen,
)
from experiments.concepts.residual_text import EXPLAIN, GUESS, TITLE, WHY_NOT
from experiments.concepts.spread import above, percent, spread

SHALLOW, DEEP = 3, 12  # blocks of two layers; He 2016's figure 1 has networks of 20 and 56 layers
HALF_FACTOR = round(DEEP * np.log10(2) / 2, 1)  # decades, see the section on gradients
NOISE = 0.1  # standard deviation of what makes a neighbour of an example; the curves have about 1
PLAIN, RESIDUAL = "plain", "residual"
# shallow networks need no shortcuts: one kind is enough to compare with
DEPTHS = {PLAIN: (SHALLOW, DEEP), RESIDUAL: (DEEP,)}
NAMES: dict[str, Words] = {PLAIN: Text("plain", "普通"), RESIDUAL: Text("residual", "残差")}


def layers(blocks: int) -> int:
    return 1 + 2 * blocks


CLAIMS = [
    Claim("kept", Text(
        f"With batch norm and shortcuts the gradient keeps its size over {layers(DEEP)} layers "
        "(log10 for the first layer)",
        f"有批归一化和残差连接时，梯度经过 {layers(DEEP)} 层大小不变（第一层梯度的 log10）",
    ), f"-{HALF_FACTOR} … {HALF_FACTOR}"),
    Claim("deeper", Text(
        f"A plain network of {layers(DEEP)} layers trains worse than one of {layers(SHALLOW)}: its "
        "training loss is higher (He 2016, figure 1)",
        f"{layers(DEEP)} 层的普通网络比 {layers(SHALLOW)} 层的训练得更差：训练损失更高（He 2016，"
        "图 1）",
    ), Text(f"> {layers(SHALLOW)} layers", f"> {layers(SHALLOW)} 层")),
    Claim("better", Text(
        f"At {layers(DEEP)} layers a residual network trains better than a plain one (training "
        "loss)",
        f"同为 {layers(DEEP)} 层，残差网络比普通网络训练得更好（训练损失）",
    ), Text("< plain", "< 普通网络")),
    Claim("alike", Text(
        "Two inputs that hardly differ give gradients that point the same way, with shortcuts more "
        "than without (cosine)",
        "两个几乎相同的输入，其梯度方向应当一致；有残差连接时比没有时更一致（余弦）",
    ), Text("> plain", "> 普通网络")),
    Claim("cut", Text(
        "A trained residual network survives the loss of one block, a plain one does not: the "
        "accuracy lost is less than half (Veit 2016)",
        "训练好的残差网络去掉一个块仍能工作，普通网络不能：准确率的损失不到普通网络的一半（Veit "
        "2016）",
    ), Text("< half of the plain one's", "< 普通网络的一半")),
]  # fmt: skip


def measure(effort: Effort) -> dict[str, Any]:
    train, test = mnist1d("train"), mnist1d("test")
    chains = {PLAIN: Chain(DEEP, norm=True), RESIDUAL: Chain(DEEP, norm=True, residual=True)}
    new = {name: inside(chain, train, effort.seeds) for name, chain in chains.items()}
    loss: dict[str, dict[str, Any]] = {}
    right: dict[str, dict[str, Any]] = {}
    lost = {}
    for name, chain in chains.items():
        loss[name], right[name] = {}, {}
        for blocks in DEPTHS[name]:
            model = chain.clone(blocks=blocks)
            trained = _train(model, train, effort)
            loss[name][str(blocks)] = trained.losses[:, -20:].mean(-1)
            right[name][str(blocks)] = _right(model, trained.variables, test)
        lost[name] = right[name][str(DEEP)][:, None] - _right_without(model, trained, test)
    return {
        "first": {name: each["first"] for name, each in new.items()},
        "gradient": {name: each["gradient"] for name, each in new.items()},
        "alike": {
            name: {
                str(blocks): _likeness(chain.clone(blocks=blocks), train, effort.seeds)
                for blocks in DEPTHS[name]
            }
            for name, chain in chains.items()
        },
        "loss": loss,
        "right": right,
        "lost": lost,  # [seeds, blocks]
    }


def _train(model: Chain, data, effort: Effort):
    return train_replicas(
        model,
        classification(10),
        optax.adam,
        data,
        seeds=effort.seeds,
        steps=effort.steps(200, 2000),
        batch_size=32,
        learning_rates=[3e-3],
    )


def _right(model: Chain, variables, data) -> np.ndarray:
    return accuracies(predict_replicas(model, variables, data["image"]), data["label"])


def _right_without(model: Chain, trained, data) -> np.ndarray:
    """The accuracy without each block, [seeds, blocks]."""
    shorter = model.clone(blocks=model.blocks - 1)
    apply = jax.jit(lambda variables: shorter.apply(variables, data["image"], train=False))
    seeds = len(trained.losses)
    own = [jax.tree.map(lambda leaf, s=seed: leaf[s], trained.variables) for seed in range(seeds)]
    logits = [
        [np.asarray(apply(without(variables, block))) for block in range(model.blocks)]
        for variables in own
    ]
    return np.stack([accuracies(np.stack(each), data["label"]) for each in logits])


def _likeness(model: Chain, data, seeds: range) -> np.ndarray:
    """The mean cosine of the gradients for examples and for their neighbours, [seeds].

    The gradients are those of the first block's outputs, in new networks.
    """
    image, label = data["image"][:64], data["label"][:64]
    near = image + NOISE * np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    zeros = jnp.zeros((model.blocks, 2, len(image), POSITIONS, WIDTH))

    @jax.jit
    def of(key):
        variables = model.init(key, image[:1], train=False)

        def loss(nudges, x):
            (logits, _), _ = model.apply(
                variables, x, train=True, nudges=nudges, mutable=["batch_stats"]
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).sum()

        a, b = (jax.grad(loss)(zeros, x)[0, 0].reshape(len(x), -1) for x in (image, near))
        norms = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
        return ((a * b).sum(1) / norms).mean()

    return np.array([of(jax.random.key(seed)) for seed in seeds])


def read(values) -> Findings:
    size = np.log10(values["first"][RESIDUAL])
    loss, right, lost = values["loss"], values["right"], values["lost"]
    shallow, deep = str(SHALLOW), str(DEEP)
    plain, residual = loss[PLAIN], loss[RESIDUAL]
    alike = {name: values["alike"][name][deep] for name in NAMES}
    mean_lost = {name: np.mean(lost[name], 1).tolist() for name in NAMES}
    outcomes = {
        "kept": Outcome(
            spread(size, digits=2), bool(abs(size.mean()) < HALF_FACTOR),
            {NAMES[RESIDUAL]: size.tolist()}, why_not=WHY_NOT["kept"](values),
        ),
        "deeper": Outcome(
            f"{spread(plain[deep], digits=2)} > {spread(plain[shallow], digits=2)}",
            above(plain[deep], plain[shallow]),
            {_layers(DEEP): plain[deep], _layers(SHALLOW): plain[shallow]},
            why_not=WHY_NOT["deeper"](values, shallow, deep),
        ),
        "better": Outcome(
            f"{spread(residual[deep], digits=2)} < {spread(plain[deep], digits=2)}",
            above(plain[deep], residual[deep]),
            {NAMES[name]: loss[name][deep] for name in (RESIDUAL, PLAIN)},
            why_not=WHY_NOT["better"](values, shallow, deep),
        ),
        "alike": Outcome(
            f"{spread(alike[RESIDUAL], digits=2)} > {spread(alike[PLAIN], digits=2)}",
            above(alike[RESIDUAL], alike[PLAIN]),
            {NAMES[name]: alike[name] for name in (RESIDUAL, PLAIN)},
            why_not=WHY_NOT["alike"](values, shallow, deep),
        ),
        "cut": Outcome(
            f"{percent(mean_lost[RESIDUAL])} < {percent(mean_lost[PLAIN])} / 2",
            bool(np.mean(mean_lost[RESIDUAL]) < np.mean(mean_lost[PLAIN]) / 2),
            {NAMES[name]: [100 * x for x in mean_lost[name]] for name in (RESIDUAL, PLAIN)}, "%",
            WHY_NOT["cut"](values, deep),
        ),
    }  # fmt: skip
    table = Table(
        [Text("network", "网络"), Text("layers", "层数"), Text("training loss", "训练损失"),
         Text("test accuracy", "测试准确率"),
         Text("accuracy lost without one block", "去掉一个块后损失的准确率")],
        [
            [NAMES[name], str(layers(blocks)), spread(loss[name][str(blocks)], digits=2),
             percent(right[name][str(blocks)]), percent(mean_lost[name]) if blocks == DEEP else ""]
            for name in NAMES for blocks in DEPTHS[name]
        ],
        Text("All with batch norm, after the same number of steps",
             "都有批归一化，更新次数相同"),
    )  # fmt: skip
    return Findings([table], _charts(values), outcomes, _reading(values, outcomes, mean_lost))


def _layers(blocks: int) -> Text:
    return Text(f"{layers(blocks)} layers", f"{layers(blocks)} 层")


def _charts(values) -> list[Chart]:
    losses = [
        Series(
            name,
            [layers(blocks) for blocks in DEPTHS[key]],
            [values["loss"][key][str(blocks)] for blocks in DEPTHS[key]],
        )
        for key, name in NAMES.items()
    ]
    lost = [
        Series(name, list(range(1, DEEP + 1)), (100 * np.transpose(values["lost"][key])).tolist())
        for key, name in NAMES.items()
    ]
    return [
        Chart(Text("Depth and training loss", "深度与训练损失"), Text("layers", "层数"),
              Text("training loss", "训练损失"), losses),
        Chart(Text("One block removed after training", "训练之后去掉一个块"),
              Text("number of the block", "块的编号"),
              Text("accuracy lost (%)", "损失的准确率（%）"), lost),
    ]  # fmt: skip


def _reading(values, outcomes, lost) -> list[Text]:
    every = np.asarray(values["lost"][RESIDUAL])  # [seeds, blocks]
    first, later = every[:, 0], every[:, DEEP // 2 :].mean(1)
    best = {name: percent(values["right"][name][str(DEEP)]) for name in NAMES}
    sizes = {name: spread(np.log10(values["first"][name]), digits=1) for name in NAMES}
    return [
        Text(
            f"With {layers(DEEP)} layers the plain network names {best[PLAIN]} of new curves "
            "right, "
            f"the residual one {best[RESIDUAL]}. Both have batch norm, and the log10 of the first "
            f"layer's gradient is {sizes[PLAIN]} and {sizes[RESIDUAL]} at the start: the size of "
            "the gradient alone does not tell the two apart.",
            f"{layers(DEEP)} 层时，普通网络在新曲线上的准确率是 {best[PLAIN]}，残差网络是 "
            f"{best[RESIDUAL]}。两者都有批归一化，训练开始时第一层梯度的 log10 分别是 "
            f"{sizes[PLAIN]} 和 {sizes[RESIDUAL]}：只看梯度的大小，分不出这两种网络。",
        ),
        chosen(
            outcomes["alike"].holds,
            Text(
                "Their direction does. In the deep plain network a small change of the input turns "
                "the gradient elsewhere (Balduzzi 2017 calls it shattered), so that one step's "
                "advice says little about the next example. The shortcuts keep the direction.",
                "能分出来的是梯度的方向。在深的普通网络里，输入稍有变化，梯度就转向别处"
                "（Balduzzi 2017 称之为“破碎”），由一个样本得到的修改方向对下一个样本没有多少用处。"
                "残差连接则能保持方向。",
            ),
            Text(
                "Nor does the direction of the gradient for neighbouring inputs, as measured here.",
                "这里测得的相邻输入的梯度方向，也分不出这两种网络。",
            ),
        ),
        chosen(
            outcomes["cut"].holds,
            Text(
                f"Without one block the residual network loses {percent(lost[RESIDUAL])} of "
                "accuracy "
                f"on average, the plain one {percent(lost[PLAIN])}. In a sum one term is missing; "
                "in a chain everything behind the gap gets an input that it has never seen.",
                f"去掉一个块，残差网络的准确率平均损失 {percent(lost[RESIDUAL])}，普通网络损失 "
                f"{percent(lost[PLAIN])}。求和只是少了一项；而链条断开之后，"
                "后面的层收到的都是从未见过的输入。",
            ),
            Text(
                f"Without one block the residual network loses {percent(lost[RESIDUAL])} on "
                f"average, the plain one {percent(lost[PLAIN])}. Of the residual network's blocks "
                f"the first costs {percent(first)}, one of the second half {percent(later)}.",
                f"去掉一个块，残差网络平均损失 {percent(lost[RESIDUAL])}，普通网络损失 "
                f"{percent(lost[PLAIN])}。在残差网络中，去掉第一个块损失 {percent(first)}，"
                f"去掉后一半中的某一个块损失 {percent(later)}。",
            ),
        ),
    ]


CONCEPT = Concept(
    name="residual",
    title=TITLE,
    explain=EXPLAIN,
    guess=GUESS,
    claims=CLAIMS,
    measure=measure,
    read=read,
)

if __name__ == "__main__":
    command.launch(CONCEPT)
