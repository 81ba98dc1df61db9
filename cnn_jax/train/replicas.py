"""Many training runs of a small network from one compiled step: seeds, learning rates, or both.

A single run says little: the next seed gives another number. And it leaves an accelerator idle.
Here R runs share one program, each with its own parameters, order of the data and random numbers,
as if it were alone: either side by side, vectorised, or one after the other. Side by side is faster
on an accelerator. A CPU is busy with one run, and its convolutions are slower with R sets of
weights, so there networks with convolutions run one after the other by default.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.train.callback import Callback
from cnn_jax.train.loop import fit
from cnn_jax.train.state import TrainState, inference_variables, state_from
from cnn_jax.train.step import make_train_step
from cnn_jax.typing import Array, Batch, HostBatch, Network, PyTree, Task

# learning rate -> optimiser; the rate may be a tracer.
Optimizer = Callable[[Array], optax.GradientTransformation]


class Trained(NamedTuple):
    """The results of R runs.

    Attributes:
        variables: variables of the model, every leaf with a leading axis of R runs.
        losses: float32 [R, steps], the loss of each training batch before its update.
        grad_norms: float32 [R, steps], the global norm of each gradient.
    """

    variables: PyTree
    losses: np.ndarray
    grad_norms: np.ndarray


def train_replicas(
    model: Network,
    task: Task,
    optimizer: Optimizer,
    data: HostBatch,
    *,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    learning_rates: Sequence[float] = (1.0,),
    augment: Callable[[Array, Batch], Batch] = lambda keys, batch: batch,
    side_by_side: bool | None = None,
) -> Trained:
    """Trains `model` once for each seed and learning rate.

    The runs are ordered by learning rate first: run i * len(seeds) + j has learning_rates[i] and
    seeds[j]. What a run computes depends on its own seed and rate alone, up to rounding.

    Args:
        model: called as `model(image, train=True)`.
        task: the task, with its loss.
        optimizer: learning rate -> optimiser.
        data: the whole training set: `image` [N, ...] and `label` [N], as the model takes them.
        seeds: seeds for the parameters, the order of the data, augmentation and dropout.
        steps: number of updates of each run.
        batch_size: examples per step and run.
        learning_rates: arguments of `optimizer`.
        augment: see `make_train_step`.
        side_by_side: whether all runs are in one vectorised step, or one after the other in the
            same program; by default as `pays_side_by_side` says.

    Raises:
        ValueError: there are fewer examples than batch_size, or nothing to train.
    """
    examples = len(data["label"])
    if batch_size > examples:
        raise ValueError(f"batch_size={batch_size}, and there are {examples} examples.")
    if not seeds or not learning_rates or steps < 1:
        raise ValueError("Nothing to train: give at least one seed, learning rate and step.")
    image = jnp.asarray(data["image"][:1])
    everything = {name: jnp.asarray(leaf) for name, leaf in data.items()}
    if side_by_side is None:
        side_by_side = pays_side_by_side(model, image)

    def begin(seed: Array, rate: Array) -> TrainState:
        variables = model.init(jax.random.key(seed), image, train=False)
        return state_from(variables, optimizer(rate), ema=False)

    update = make_replica_step(model, task, optimizer, augment=augment)

    def step(state: TrainState, seed: Array, rate: Array, chosen: Array, everything: Batch):
        batch = {name: leaf[chosen] for name, leaf in everything.items()}
        state, metrics = update(state, seed, rate, {**batch, "mask": jnp.ones(batch_size)})
        return state, {name: metrics[name] for name in _Recorder.NAMES}

    runs = [(seed, rate) for rate in learning_rates for seed in seeds]
    lanes = [runs] if side_by_side else [[run] for run in runs]  # the runs that share a step
    if side_by_side:
        begin, step = jax.vmap(begin), jax.vmap(step, in_axes=(0, 0, 0, 0, None))
    begin, step = jax.jit(begin), jax.jit(step, donate_argnums=0)

    def train(lane: list[tuple[int, float]]) -> Trained:
        columns = zip(*lane, strict=True) if side_by_side else lane[0]
        seed, rate = map(jnp.asarray, columns, (jnp.uint32, jnp.float32))
        recorder = _Recorder()
        outcome = fit(
            begin(seed, rate),
            train_step=lambda state, batch: step(state, seed, rate, batch["rows"], everything),
            batches=_rows([seed for seed, _ in lane], examples, batch_size, side_by_side),
            steps=steps,
            callbacks=[recorder],
            nonfinite_limit=None,  # a learning rate that diverges stops no other run
        )
        losses, norms = recorder.columns()
        return Trained(inference_variables(outcome.state), losses, norms)

    trained = [train(lane) for lane in lanes]
    if side_by_side:
        return trained[0]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trained)


def make_replica_step(
    model: Network, task: Task, optimizer: Optimizer, **options: Any
) -> Callable[[TrainState, Array, Array, Batch], tuple[TrainState, dict[str, Array]]]:
    """Builds the training step with seed and learning rate as arguments: one program for all runs.

    Vectorised over its four arguments it is the step of many runs.

    Args:
        model, task: see `make_train_step`.
        optimizer: learning rate -> optimiser.
        **options: further options of `make_train_step`: augment, accumulate, ema_decay, frozen.

    Returns:
        (state, seed, learning rate, batch) -> (state, metrics).
    """

    def step(state: TrainState, seed: Array, rate: Array, batch: Batch):
        train_step = make_train_step(model, task, optimizer(rate), seed=seed, **options)  # type: ignore[arg-type]
        return train_step(state, batch)

    return step


def pays_side_by_side(model: Network, image: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether many runs are faster in one vectorised step than one after the other.

    On an accelerator they are. A CPU is busy with one run of a network with convolutions, which
    become R groups with R sets of weights; without convolutions the larger products are faster.

    Args:
        model: called as `model(image, train=False)`.
        image: [B, *space, C].
    """
    if jax.default_backend() != "cpu":
        return True
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return all(leaf.ndim <= 2 for leaf in jax.tree.leaves(shapes["params"]))


def predict_replicas(
    model: Network, variables: PyTree, images: np.ndarray, *, batch_size: int = 500
) -> np.ndarray:
    """Logits of every run for the same images, in evaluation mode: float32 [R, N, K].

    Args:
        model: called as `model(image, train=False)`.
        variables: variables with a leading axis of R runs.
        images: [N, ...], as the model takes them.
        batch_size: images per batch.
    """
    apply = jax.jit(functools.partial(model.apply, train=False))
    parts = np.split(images, range(batch_size, len(images), batch_size))
    logits = []
    for run in range(len(jax.tree.leaves(variables)[0])):
        own = jax.tree.map(operator.itemgetter(run), variables)
        logits.append(np.concatenate([apply(own, part) for part in parts]))
    return np.stack(logits)


def accuracies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The accuracy of every run, [R], from logits [R, N, K] and labels [N]."""
    return (logits.argmax(-1) == labels).mean(-1)


class _Recorder(Callback):
    """Keeps the metrics of every step."""

    NAMES = ("loss", "grad_norm")

    def __init__(self) -> None:
        self._steps: list[list[Any]] = []

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        self._steps.append([metrics[name] for name in self.NAMES])

    def columns(self) -> np.ndarray:
        """float32 [metrics, runs, steps], or [metrics, steps] of a single run."""
        return np.moveaxis(np.array(self._steps, np.float32), 0, -1)


def _rows(
    seeds: Sequence[int], examples: int, batch_size: int, side_by_side: bool
) -> Iterator[HostBatch]:
    """The indices of the examples of every batch: [runs, B] side by side, else [B]."""
    for chosen in zip(*(_order(seed, examples, batch_size) for seed in seeds), strict=True):
        yield {"rows": np.stack(chosen) if side_by_side else chosen[0]}


def _order(seed: int, examples: int, batch_size: int) -> Iterator[np.ndarray]:
    """Endless batches of indices; every epoch is a permutation, its incomplete batch left out."""
    for epoch in range(2**31):
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
        order = rng.permutation(examples)
        for start in range(0, examples - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
