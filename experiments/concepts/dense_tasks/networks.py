"""One trunk and three heads: a class for the image, for every pixel, and boxes."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import losses
from cnn_jax.boxes.nms import nms
from cnn_jax.typing import Mean, Observed, Task
from experiments.concepts.dense_tasks.scenes import BACKGROUND, CELLS, SIDE, STRIDE, middles

SCORE = 0.5  # least probability of a box's class
OVERLAP = 0.5  # largest IoU of two boxes that both stay
MOST_BOXES = CELLS**2
EMPTY = 0.9  # share of the pixels and cells that are background


class Trunk(nn.Module):
    """Four convolutions: maps at strides 1, 2 and 4."""

    @nn.compact
    def __call__(self, x, *, train):
        maps = []
        for i, (width, stride) in enumerate(((8, 1), (16, 2), (24, 2), (32, 1)), start=1):
            x = nn.Conv(width, (3, 3), strides=stride, use_bias=False, name=f"conv{i}")(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9, name=f"bn{i}")(x))
            maps.append(x)
        return maps[0], maps[1], maps[3]


class Classifier(nn.Module):
    """A class for the image: the mean over all places, then a fully connected layer.

    With `everywhere` the layer is applied at each place in place of the mean: the same weights.
    """

    everywhere: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        _, _, x = Trunk(name="trunk")(x, train=train)  # [B, h, w, 32]
        return nn.Dense(10, name="head")(x if self.everywhere else x.mean((1, 2)))


class Begun(NamedTuple):
    """A network whose trunk begins with weights that were learnt before."""

    network: nn.Module
    learnt: Any

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """The initial variables, with the learnt trunk."""
        new = self.network.init(rngs, *args, **kwargs)
        return {kind: {**new[kind], "trunk": self.learnt[kind]["trunk"]} for kind in new}

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        return self.network.apply(variables, *args, **kwargs)

    def clone(self, **updates: Any) -> Any:
        return self._replace(network=self.network.clone(**updates))

    def __call__(self, x, *, train: bool) -> Any:
        return self.network(x, train=train)


class Dense(nn.Module):
    """A class for every pixel; with `skip` from the fine maps too; with `boxes` also boxes."""

    skip: bool
    boxes: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        fine, middle, coarse = Trunk(name="trunk")(x, train=train)
        found = {}
        if self.boxes:
            found["cells"] = _classes("cells")(coarse)  # [B, 8, 8, 11]
            found["sides"] = STRIDE * nn.softplus(nn.Dense(4, name="sides")(coarse))
        if not self.skip:
            x = _classes("head")(coarse)
            shape = (len(x), SIDE, SIDE, 11)
            return {**found, "pixels": jax.image.resize(x, shape, "bilinear")}
        x = coarse
        for i, own in enumerate((middle, fine), start=1):
            # as in feature pyramids, arXiv:1612.03144: a sum costs less than joined channels
            width = own.shape[-1]
            x = nn.Dense(width, name=f"lateral{i}")(x).repeat(2, 1).repeat(2, 2) + own
            x = nn.Conv(width, (3, 3), use_bias=False, name=f"up{i}")(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9, name=f"bn_up{i}")(x))
        return {**found, "pixels": _classes("head")(x)}


def _classes(name: str) -> nn.Dense:
    """Logits that begin at the share of the background, as in arXiv:1708.02002, section 3.3."""

    def init(key: Any, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        return jnp.where(jnp.arange(shape[0]) == BACKGROUND, np.log(10 * EMPTY / (1 - EMPTY)), 0.0)

    return nn.Dense(11, bias_init=init, name=name)


def task() -> Task:
    """The mean cross-entropy of pixels; of cells, and the mean distance of sides in cells, if
    these are predicted."""

    def loss(outputs, batch):
        def cross_entropy(logits, labels) -> Mean:
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.weighted_mean(each.mean((1, 2)), batch["mask"])

        means = {"pixels": cross_entropy(outputs["pixels"], batch["label"])}
        if "cells" in outputs:
            means["cells"] = cross_entropy(outputs["cells"], batch["cells"])
            apart = abs(outputs["sides"] - batch["sides"]).mean(-1) / STRIDE
            means["sides"] = Mean(
                (apart * (batch["cells"] > 0)).sum(), (batch["cells"] > 0).sum().astype(jnp.float32)
            )
        return means

    return Task(loss=loss, observe=lambda outputs, batch: Observed({}, {}), report=lambda o: {})


@jax.jit
def boxes_of(outputs) -> tuple[jax.Array, jax.Array]:
    """The boxes of cells that show a digit, without and with suppression.

    Returns:
        Each [B, 64, 6]: left, top, right, bottom, probability, digit; -1 where there is none.
    """
    shares = jax.nn.softmax(outputs["cells"])[..., 1:]
    score, digit = shares.max(-1), shares.argmax(-1)
    centre = jnp.asarray(middles())
    sides = outputs["sides"]
    corners = jnp.concatenate([centre - sides[..., :2], centre + sides[..., 2:]], -1)
    rows = jnp.concatenate([corners, score[..., None], digit[..., None]], -1)
    rows = rows.reshape(len(rows), MOST_BOXES, 6)
    shown = rows[..., 4] > SCORE
    every = jnp.where(shown[..., None], rows, -1)

    def best(own, valid):
        kept = nms(own[:, :4], own[:, 4], threshold=OVERLAP, size=MOST_BOXES, valid=valid)
        return jnp.where(kept.valid[:, None], own[kept.indices], -1)

    return every, jax.vmap(best)(rows, shown)


def confusion(predicted: np.ndarray, label: np.ndarray, classes: int = 11) -> np.ndarray:
    """How often each true class, the row, was called each class."""
    counts = np.bincount((classes * label + predicted).ravel(), minlength=classes**2)
    return counts.reshape(classes, classes)


def mean_iou(counts: np.ndarray) -> float:
    """The mean over the classes of intersection over union."""
    both = np.diag(counts)
    return float((both / np.maximum(counts.sum(0) + counts.sum(1) - both, 1)).mean())
