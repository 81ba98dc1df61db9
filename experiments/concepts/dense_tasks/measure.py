"""A classifier of single digits, and networks for pixels and boxes of scenes, measured."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.analysis.detection_figures import judge
from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import Trained, accuracies, predict_replicas, train_replicas
from cnn_jax.typing import HostBatch
from experiments.concepts.dense_tasks.networks import (
    Begun,
    Classifier,
    Dense,
    boxes_of,
    confusion,
    mean_iou,
    task,
)
from experiments.concepts.dense_tasks.scenes import BACKGROUND, CELLS, DIGIT, STRIDE, scenes, single
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits

TRAINED, TESTED = 2000, 300  # scenes
BATCH, RATE = 16, 5e-3  # examples of a step; of Adam
SHOWN = 4  # scenes on the page


def measure(effort: Effort) -> dict[str, Any]:
    train, test = digits("train"), digits("test")
    lessons, unseen = scenes(train, TRAINED, seed=0), scenes(test, TESTED, seed=1)
    again = {name: leaf[:TESTED] for name, leaf in lessons.items()}
    alone = single(train, seed=2), single(test, seed=3)
    steps = effort.steps(800, 4000)
    classifiers = _train(Classifier(), classification(10), alone[0], effort, steps)
    found = _classified(classifiers, alone[1], unseen)
    trunk = _own(classifiers)[0]
    for name, model in (("coarse", Dense(skip=False)), ("fine", Dense(skip=True, boxes=True))):
        steps = effort.steps(600, 4000)
        trained = _train(Begun(model, trunk), task(), lessons, effort, steps)
        found |= _segmented(name, model, trained, unseen, again)
        if name == "fine":
            found |= _boxed(model, trained, unseen)
    return found


def _train(model, task, data, effort: Effort, steps: int) -> Trained:
    kept = ("image", "label", "cells", "sides")
    return train_replicas(
        model,
        task,
        optax.adam,
        {name: data[name] for name in kept if name in data},
        seeds=effort.seeds,
        steps=steps,
        batch_size=BATCH,
        learning_rates=[RATE],
    )


def _own(trained: Trained) -> list[Any]:
    runs = len(trained.losses)
    return [jax.tree.map(lambda leaf, r=run: leaf[r], trained.variables) for run in range(runs)]


def _size(trained: Trained) -> int:
    return sum(leaf[0].size for leaf in jax.tree.leaves(trained.variables["params"]))


def _classified(trained: Trained, test: HostBatch, unseen: HostBatch) -> dict[str, Any]:
    """What classifiers of single digits say at each place of a scene."""
    places = Classifier(everywhere=True)
    apply = jax.jit(lambda variables, image: places.apply(variables, image, train=False))
    whole = predict_replicas(Classifier(), trained.variables, test["image"])
    apart, ink, centre, shown = [], [], [], []
    for own, logits in zip(_own(trained), whole, strict=True):
        mean = np.asarray(apply(own, test["image"])).mean((1, 2))
        apart.append(abs(mean - logits).max() / abs(logits).max())
        said = apply(own, unseen["image"])  # [B, 8, 8, 10]
        grown = jax.image.resize(said, (*unseen["label"].shape, 10), "bilinear")
        named = np.asarray(grown.argmax(-1)) + 1
        inked = unseen["label"] > 0
        ink.append((named == unseen["label"])[inked].mean())
        centre.append(_at_middles(np.asarray(said), unseen))
        shown.append(named[:SHOWN] * inked[:SHOWN])
    return {
        "right": accuracies(whole, test["label"]), "apart": apart, "largest": abs(whole).max(),
        "slid": ink, "centre": centre, "slid_shown": shown[0], "slid_size": _size(trained),
    }  # fmt: skip


def _at_middles(said: np.ndarray, unseen) -> float:
    """The share of digits that are named right at the cell nearest to their middle."""
    which, k = np.nonzero(unseen["place"][..., 0] >= 0)
    cell = np.minimum((unseen["place"][which, k] + DIGIT // 2) // STRIDE, CELLS - 1)
    named = said[which, cell[:, 0], cell[:, 1]].argmax(-1)
    return float((named == unseen["truth"][which, k, 5]).mean())


def _segmented(name: str, model: Dense, trained: Trained, unseen, again) -> dict[str, Any]:

    @jax.jit
    def apply(variables, x):
        outputs: Any = model.apply(variables, x, train=False)
        return outputs["pixels"]

    ink, border, blank, shown = [], [], [], []
    iou: list[float] = []
    known: list[float] = []
    pairs: list[tuple[HostBatch, list[float]]] = [(unseen, iou), (again, known)]
    for own in _own(trained):
        for data, ious in pairs:
            said = np.asarray(apply(own, data["image"]).argmax(-1))
            ious.append(mean_iou(confusion(said, data["label"])))
            if data is unseen:
                inked = data["label"] > 0
                ink.append((said == data["label"])[inked].mean())
                blank.append((said == BACKGROUND)[inked].mean())
                border.append((said == data["label"])[_borders(data["label"])].mean())
                shown.append(said[:SHOWN])
    return {
        f"{name}_ink": ink, f"{name}_iou": iou, f"{name}_known": known, f"{name}_border": border,
        f"{name}_blank": blank,
        f"{name}_shown": shown[0], f"{name}_size": _size(trained),
    }  # fmt: skip


def _borders(label: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour, above, below or beside, of another class."""
    padded = np.pad(label, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return np.any([each != label for each in around], 0)


def _boxed(model: Dense, trained: Trained, unseen) -> dict[str, Any]:
    apply = jax.jit(lambda variables, x: boxes_of(model.apply(variables, x, train=False)))
    truth = unseen["truth"]
    digits_there = (truth[..., 5] >= 0).sum()
    found: dict[str, list] = {n: [] for n in ("found", "any", "before", "after", "wrong")}
    shown: list[list[list[float]]] = []
    for own in _own(trained):
        every, best = map(np.asarray, apply(own, jnp.asarray(unseen["image"])))
        verdicts = [judge(d, t) for d, t in zip(best, truth, strict=True)]
        found["found"].append(sum(right.sum() for _, right, _ in verdicts) / digits_there)
        found["wrong"].append(sum((~right).sum() for _, right, _ in verdicts) / digits_there)
        # the same without regard to the class
        blind = [judge(_as_zero(d), _as_zero(t)) for d, t in zip(best, truth, strict=True)]
        found["any"].append(sum(right.sum() for _, right, _ in blind) / digits_there)
        found["before"].append((every[..., 5] >= 0).sum() / digits_there)
        found["after"].append((best[..., 5] >= 0).sum() / digits_there)
        shown = shown or [rows[rows[:, 5] >= 0].tolist() for rows in best[:SHOWN]]
    return {
        **found, "cells_each": (unseen["cells"] > 0).sum() / digits_there,
        "boxes_shown": shown, "scenes_shown": unseen["image"][:SHOWN, ..., 0],
        "truth_shown": unseen["label"][:SHOWN],
    }  # fmt: skip


def _as_zero(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[:, :5], np.minimum(rows[:, 5:], 0)], 1)
