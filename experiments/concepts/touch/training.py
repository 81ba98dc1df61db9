"""Trains the networks of the page, and keeps snapshots on the way."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import augment as augmentations
from cnn_jax.tasks.classification import classification
from cnn_jax.tasks.segmentation import segmentation
from cnn_jax.train.callback import Callback
from cnn_jax.train.loop import fit
from cnn_jax.train.state import TrainState, inference_variables, state_from
from cnn_jax.train.step import make_train_step
from cnn_jax.typing import Array, Batch, HostBatch, Network, PyTree, Task
from experiments.concepts.touch import data, networks

SNAPSHOTS = (0, 30, 100, 200, 400)  # updates before each snapshot; the last is the end
BATCH, RATE = 64, 5e-3
DIGIT_STEPS, CURVE_STEPS, SCENE_STEPS = 1200, 1500, 600
SCENES = 3000  # drawn once


class Snapshot(NamedTuple):
    """A network at one moment of its training.

    Attributes:
        step: number of updates made.
        variables: its parameters and statistics.
    """

    step: int
    variables: PyTree


class Trained(NamedTuple):
    """Attributes:
    model: the network.
    snapshots: from untrained to the end.
    seconds: seconds that the training took, compilation included.
    """

    model: Network
    snapshots: list[Snapshot]
    seconds: float


class _Keep(Callback):
    """Copies the state before the updates that follow these numbers of updates."""

    def __init__(self, steps: Sequence[int]):
        self._steps = set(steps)
        self.snapshots: list[Snapshot] = []

    def around_step(self, step: int, state: TrainState) -> contextlib.nullcontext:
        if step in self._steps:  # the update donates the state: copy it now
            copied = jax.tree.map(np.array, inference_variables(state))
            self.snapshots.append(Snapshot(step, copied))
        return contextlib.nullcontext()


def train(
    model: Network,
    task: Task,
    everything: HostBatch,
    *,
    steps: int,
    seed: int = 0,
    snapshots: Sequence[int] = (),
    augment: Callable[[Array, Batch], Batch] = lambda keys, batch: batch,
) -> Trained:
    """Trains a small network on data that fit in memory, with Adam and a rate that falls to 0.

    Args:
        model: called as `model(image, train=True)`.
        task: the task, with its loss.
        everything: the whole training set, as the model takes it.
        steps: number of updates.
        seed: seed for the parameters, the order of the examples and the augmentation.
        snapshots: numbers of updates after which the network is kept; the end is always.
        augment: see `make_train_step`.
    """
    began = time.monotonic()
    image = jnp.asarray(everything["image"][:1])
    tx = optax.adam(optax.cosine_decay_schedule(RATE, steps))
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(seed))
    held = {name: jnp.asarray(leaf) for name, leaf in everything.items()}
    update = make_train_step(model, task, tx, seed=seed, augment=augment)

    def step(state: TrainState, rows: Array) -> tuple[TrainState, dict[str, Array]]:
        batch = {name: leaf[rows] for name, leaf in held.items()}
        return update(state, {**batch, "mask": jnp.ones(len(rows))})

    compiled = jax.jit(step, donate_argnums=0)
    keep = _Keep([n for n in snapshots if n < steps])
    outcome = fit(
        state_from(variables, tx, ema=False),
        train_step=lambda state, batch: compiled(state, batch["rows"]),
        batches=_rows(len(everything["label"]), seed),
        steps=steps,
        callbacks=[keep],
    )
    last = jax.tree.map(np.array, inference_variables(outcome.state))
    return Trained(model, [*keep.snapshots, Snapshot(steps, last)], time.monotonic() - began)


def _rows(examples: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.Generator(np.random.Philox(seed))
    while True:
        order = rng.permutation(examples)
        for start in range(0, examples - BATCH + 1, BATCH):
            yield {"rows": order[start : start + BATCH]}


# A hand turns, sizes and places a digit in its own way, and holds a thinner or a thicker pen.
_PLACED = augmentations.parse(
    "affine:degrees=12:translate=0.12:smallest=0.8:largest=1.2:shear=10:stretch=1.25"
)


def drawn_by_hand(keys: Array, batch: Batch) -> Batch:
    """Soft digits, placed and turned at random, with strokes of random width."""
    placed = augmentations.apply(_PLACED, keys, {"image": batch["image"]})["image"]

    def pen(key: Array, soft: Array) -> Array:
        level, gain = jax.random.uniform(jax.random.fold_in(key, 7), (2,))
        return jnp.clip((soft - (0.25 + 0.35 * level)) * (1.5 + 2 * gain) + 0.5, 0, 1)

    return {**batch, "image": jax.vmap(pen)(keys, placed)}


def train_digits(
    *, steps: int = DIGIT_STEPS, seed: int = 0, shuffled: np.ndarray | None = None, **fields
) -> Trained:
    """Trains the classifier of digits on their training split.

    Args:
        steps: number of updates.
        seed: seed of the run.
        shuffled: order of the pixels that the network sees, [576]; None for their own.
        fields: fields of `networks.Digit`.
    """
    small, labels = data.small_digits("train")
    soft = data.on_canvas(data.enlarged(small.astype(np.float32) / 16))

    def augment(keys: Array, batch: Batch) -> Batch:
        batch = drawn_by_hand(keys, batch)
        if shuffled is None:
            return batch
        shape = batch["image"].shape
        return {**batch, "image": batch["image"].reshape(len(keys), -1)[:, shuffled].reshape(shape)}

    return train(
        networks.Digit(**fields),
        classification(10),
        {"image": soft, "label": labels},
        steps=steps,
        seed=seed,
        snapshots=SNAPSHOTS,
        augment=augment,
    )


def train_curves(subsampling: networks.Subsampling, *, steps: int = CURVE_STEPS) -> Trained:
    """Trains a network of `networks.Curve` on mnist1d."""
    return train(
        networks.Curve(subsampling=subsampling),
        classification(10),
        data.curves("train"),
        steps=steps,
    )


def train_scenes(*, steps: int = SCENE_STEPS, seed: int = 0) -> Trained:
    """Trains the network that gives each position of a scene a class."""
    small, labels = data.small_digits("train")
    digits = data.inked(data.enlarged(small.astype(np.float32) / 16))
    rng = np.random.default_rng(seed)
    drawn = [data.scene(rng, digits, labels) for _ in range(SCENES)]
    image = np.stack([image for image, _ in drawn])
    # one class for each position of a map of half the side
    label = np.stack([halved(classes) for _, classes in drawn])
    names = ["background", *map(str, range(10))]
    return train(
        networks.Scene(),
        segmentation(names, class_weights=[0.3, *[1.0] * 10]),
        {"image": image, "label": label},
        steps=steps,
        seed=seed,
    )


def halved(classes: np.ndarray) -> np.ndarray:
    """[2H, 2W] classes as [H, W]: the largest of each 2x2, so that ink outweighs background."""
    height, width = classes.shape
    return classes.reshape(height // 2, 2, width // 2, 2).max((1, 3))
