"""Trains until the network fits its examples, not for a number of steps.

Networks that are compared after equally many steps may only differ in how far they have come. Here
each seed trains until its loss on the training set is below a target, and what is still different
then is not because of unfinished training.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import make_replica_step
from cnn_jax.train.state import inference_variables, state_from
from cnn_jax.typing import Array, HostBatch, Network, PyTree

CHUNK = 500  # examples of which the loss is computed at once


class Fitted(NamedTuple):
    """Networks of several seeds.

    Attributes:
        variables: variables, every leaf with a leading axis of seeds.
        steps: [seeds], number of updates made.
        losses: [seeds], loss on the training set after them, in evaluation mode.
        reached: [seeds], whether that is below the target.
        curves: of each seed, a Point every `check` steps.
    """

    variables: PyTree
    steps: np.ndarray
    losses: np.ndarray
    reached: np.ndarray
    curves: list[list["Point"]]


class Point(NamedTuple):
    """A network on the way.

    Attributes:
        step: number of updates made.
        loss: loss on the training set, in evaluation mode.
        accuracy: accuracy there.
        test_loss, test_accuracy: those on the set that is watched; NaN if there is none.
    """

    step: int
    loss: float
    accuracy: float
    test_loss: float = float("nan")
    test_accuracy: float = float("nan")


def train_to(
    model: Network,
    train: HostBatch,
    *,
    loss: float,
    at_most: int,
    seeds: Sequence[int],
    batch_size: int,
    rate: float,
    test: HostBatch | None = None,
    classes: int = 10,
    check: int = 200,
    optimizer: Callable[[Array], optax.GradientTransformation] = optax.adam,
) -> Fitted:
    """Trains `model` with each seed until its loss on the training set is below `loss`.

    Args:
        model: called as `model(image, train=True)`.
        train: 'image' [N, ...] and 'label' [N].
        loss: target, a mean cross-entropy in nats; guessing among ten classes gives 2.30.
        at_most: number of updates after which a seed is given up.
        seeds: seeds for the parameters and the order of the examples.
        batch_size: examples per update, or all if there are fewer.
        rate: learning rate.
        test: a set that is watched too, and trained on never.
        classes: number of classes.
        check: updates between two looks at the loss.
        optimizer: learning rate -> optimiser.
    """
    examples = len(train["label"])
    batch_size = min(batch_size, examples)
    data = {name: jnp.asarray(train[name]) for name in ("image", "label")}
    update = make_replica_step(model, classification(classes), optimizer)

    @jax.jit
    def begin(seed: Array, rate: Array) -> Any:
        variables = model.init(jax.random.key(seed), data["image"][:1], train=False)
        return state_from(variables, optimizer(rate), ema=False)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, seed: Array, rate: Array, rows: Array) -> Any:
        batch = {name: leaf[rows] for name, leaf in data.items()}
        return update(state, seed, rate, {**batch, "mask": jnp.ones(batch_size)})[0]

    look, fitted = judge(model), []
    for seed in seeds:
        own = jnp.uint32(seed), jnp.float32(rate)
        state, rows = begin(*own), _order(seed, examples, batch_size)
        curve: list[Point] = []
        for done in range(at_most + 1):
            if done % check == 0 or done == at_most:
                now = inference_variables(state)
                seen = [look(now, part) for part in (train, test) if part is not None]
                curve.append(Point(done, *itertools.chain(*seen)))
                if curve[-1].loss < loss or not np.isfinite(curve[-1].loss):
                    break
            if done < at_most:
                state = step(state, *own, next(rows))
        fitted.append((inference_variables(state), curve))
    variables = jax.tree.map(lambda *leaves: np.stack(leaves), *(each for each, _ in fitted))
    ends = [curve[-1] for _, curve in fitted]
    losses = np.array([end.loss for end in ends])
    return Fitted(
        variables,
        np.array([end.step for end in ends]),
        losses,
        losses < loss,
        [curve for _, curve in fitted],
    )


def judge(model: Network) -> Callable[[PyTree, HostBatch], tuple[float, float]]:
    """(variables, set) -> the mean cross-entropy and the accuracy, in evaluation mode."""

    @jax.jit
    def sums(variables: PyTree, image: Array, label: Array) -> tuple[Array, Array]:
        logits = model.apply(variables, image, train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return losses.sum(), (logits.argmax(-1) == label).sum()

    def judged(variables: PyTree, data: HostBatch) -> tuple[float, float]:
        count = len(data["label"])
        total = np.zeros(2)
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            total += np.array(sums(variables, data["image"][part], data["label"][part]))
        return float(total[0]) / count, float(total[1]) / count

    return judged


def _order(seed: int, examples: int, batch_size: int) -> Iterator[np.ndarray]:
    """Endless batches of indices; every epoch is a permutation, its incomplete batch left out."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(examples)
        for start in range(0, examples - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
