"""Fine-tuning runs that share one compiled step: whatever is compared is an argument of it.

The step is that of `cnn_jax.train.step`, with classification's defaults: augmentation, label
smoothing 0.1, Nesterov momentum 0.9, cosine schedule. The number of classes is an argument too: the
last layer is as wide as the widest set, and the logits of other classes do not exist for the
loss, so that the network is the one with as many outputs as there are classes.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import models
from cnn_jax.run.classification import AUGMENT_IMAGES, small_head
from cnn_jax.run.network import pretrained_for
from cnn_jax.tasks import classification as tasks
from cnn_jax.train import optim, state, step
from cnn_jax.typing import Array, Batch, Mean, Observed, PyTree, Task
from experiments.benchmark.fine_tuning_sets import Images, Split

SMOOTHING = 0.1  # label smoothing, classification's default
MOMENTUM = 0.9
EVALUATED = 50  # images of an evaluation step


class Candidate(NamedTuple):
    """Settings that are compared.

    Attributes:
        optimizer: 'sgd' or 'adamw'.
        rate: peak learning rate.
        backbone: factor on it for all layers but the last.
        decay: weight decay.
        warmup: share of the steps that are warm-up.
        head: the new last layer: 'small', 'zero', or 'own', the network's own initialisation.
        norm: momentum of the batch-norm statistics; 0: the network's own.
        freeze: whether only the last layer is trained, a linear probe.
        scratch: whether the network begins without the pretrained weights.
    """

    optimizer: str
    rate: float
    backbone: float = 1.0
    decay: float = 5e-4
    warmup: float = 0.1
    head: str = "small"
    norm: float = 0.0
    freeze: bool = False
    scratch: bool = False


class Numbers(NamedTuple):
    """What the compiled step takes of a candidate: float32 scalars."""

    adamw: Array
    rate: Array
    backbone: Array
    decay: Array
    warmup: Array
    norm: Array
    steps: Array
    classes: Array


class Trainer:
    """Trains candidates of one network."""

    def __init__(self, name: str, pretrained: str, *, size: int, width: int):
        """
        Args:
            name: name of the network.
            pretrained: its weights, as in a recipe.
            size: height and width of the images in pixels.
            width: the most classes of a set.
        """
        self._width = width
        self._model = models.create(name, num_classes=width)
        self._image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
        paths = models.head_paths(name, self._model)
        self._head = frozenset(path.removeprefix("params/") for path in paths)
        template = state.init_variables(self._model, self._image, seed=0)
        self._drawn = {0: template}
        self._weights = pretrained_for(
            pretrained, name, self._model, template=template, init_head=True
        )
        how = self._weights.preprocessing
        if how is None:
            raise ValueError(f"pretrained={pretrained}: its preprocessing is not known.")
        prepare = tasks.make_prepare(how.mean, how.std)
        self._augment = tasks.make_augment(prepare, num_classes=width, augment=AUGMENT_IMAGES)
        self._step = jax.jit(partial(self._train_step, False), donate_argnums=0)
        self._probe = jax.jit(partial(self._train_step, True), donate_argnums=0)
        self._logits = jax.jit(
            lambda variables, images: self._model.apply(
                variables,
                prepare({"image": images.astype(jnp.float32) / 255})["image"],
                train=False,
            )
        )

    def measure(
        self, candidate: Candidate, split: Split, *, classes: int, seed: int, steps: int, batch: int
    ) -> dict[str, float]:
        """Trains, and returns the accuracy and the mean cross-entropy on the held-out images."""
        numbers = self.numbers(candidate, classes=classes, steps=steps)
        states = state.state_from(
            self.variables(candidate, seed), self.optimizer(numbers), ema=False
        )
        train_step = self._probe if candidate.freeze else self._step
        for chosen in batches(split.train, seed=seed, steps=steps, batch=batch):
            states, metrics = train_step(states, jnp.uint32(seed), numbers, chosen)
        variables = state.inference_variables(states)
        found = evaluated(
            np.concatenate([self._logits(variables, part) for part in _parts(split.held_out)]),
            split.held_out.label,
            classes,
        )
        return {**found, "train_loss": float(metrics["loss"])}

    def numbers(self, candidate: Candidate, *, classes: int, steps: int) -> Numbers:
        """The candidate as arguments of the step."""
        own = getattr(self._model, "bn_momentum", 0.0)
        given: dict[str, float] = {
            "adamw": candidate.optimizer == "adamw",
            "rate": candidate.rate,
            "backbone": 0.0 if candidate.freeze else candidate.backbone,
            "decay": candidate.decay,
            "warmup": round(candidate.warmup * steps),
            "norm": candidate.norm or own,
            "steps": steps,
            "classes": classes,
        }
        return Numbers(**{name: jnp.float32(value) for name, value in given.items()})

    def variables(self, candidate: Candidate, seed: int) -> PyTree:
        """The initial variables: pretrained, with a last layer of the seed, or all of the seed."""
        if seed not in self._drawn:
            self._drawn[seed] = state.init_variables(self._model, self._image, seed=seed)
        drawn = self._drawn[seed]
        if candidate.scratch:
            return jax.tree.map(jnp.copy, drawn)  # the step takes its state's memory

        def with_head(path: Any, weights: Any, fresh: Any) -> Any:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return jnp.array(fresh if name in self._head else weights)

        taken = self._weights.variables
        params = jax.tree_util.tree_map_with_path(with_head, taken["params"], drawn["params"])
        if candidate.head != "own":
            params = small_head(params, self._head)
        if candidate.head == "zero":
            params = jax.tree_util.tree_map_with_path(
                lambda path, leaf: (
                    leaf * 0
                    if jax.tree_util.keystr(path, simple=True, separator="/") in self._head
                    else leaf
                ),
                params,
            )
        return {**jax.tree.map(jnp.array, dict(taken)), "params": params}

    def optimizer(self, numbers: Numbers) -> optax.GradientTransformation:
        """SGD or AdamW, whichever the numbers say."""
        schedule = partial(rate_at, numbers)
        both = [
            optim.OPTIMIZERS[name](
                schedule, momentum=MOMENTUM, weight_decay=numbers.decay, nesterov=True
            )
            for name in ("sgd", "adamw")
        ]
        return optim.scale_by_path(
            either(numbers.adamw, *both),
            lambda path: 1.0 if path in self._head else numbers.backbone,  # type: ignore[return-value,arg-type]
        )

    def _train_step(
        self, frozen: bool, states: Any, seed: Array, numbers: Numbers, batch: Batch
    ) -> Any:
        model = self._model
        if hasattr(model, "bn_momentum"):
            model = model.clone(bn_momentum=numbers.norm)
        update = step.make_train_step(
            model,
            task(numbers.classes, self._width),
            self.optimizer(numbers),
            seed=seed,  # type: ignore[arg-type]
            augment=self._augment,
            frozen=(lambda path: path not in self._head) if frozen else None,
        )
        return update(states, batch)


def rate_at(numbers: Numbers, count: Any) -> Array:
    """The learning rate of a step: `cnn_jax.train.optim.make_schedule`'s cosine after a warm-up,
    with numbers that may be arguments of a compiled function."""
    rising = numbers.rate * (count + 1) / jnp.maximum(1, numbers.warmup)
    done = (count - numbers.warmup) / jnp.maximum(1, numbers.steps - numbers.warmup)
    falling = numbers.rate * (1 + jnp.cos(math.pi * jnp.clip(done, 0, 1))) / 2
    return jnp.where(count < numbers.warmup, rising, falling)


def either(
    second: Array, one: optax.GradientTransformation, other: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The updates of `other` where `second` is 1, and of `one` where it is 0."""

    def update(grads: PyTree, states: Any, params: PyTree | None = None) -> Any:
        first, states_one = one.update(grads, states[0], params)
        last, states_other = other.update(grads, states[1], params)
        chosen = jax.tree.map(lambda a, b: jnp.where(second > 0, b, a), first, last)
        return chosen, (states_one, states_other)

    return optax.GradientTransformation(
        lambda params: (one.init(params), other.init(params)), update
    )


def task(classes: Array, width: int) -> Task:
    """Cross-entropy with label smoothing over the first `classes` of `width` logits."""

    def loss(outputs: Any, batch: Batch) -> dict[str, Mean]:
        real = jnp.arange(width) < classes  # [K]
        logs = jax.nn.log_softmax(jnp.where(real, outputs, -jnp.inf))  # [B, K]
        target = (1 - SMOOTHING) * jax.nn.one_hot(batch["label"], width) + SMOOTHING / classes
        each = -jnp.sum(jnp.where(real, target * jnp.where(real, logs, 0), 0), axis=-1)  # [B]
        return {"cross_entropy": Mean((each * batch["mask"]).sum(), batch["mask"].sum())}

    return Task(loss, lambda outputs, batch: Observed({}, {}), lambda observed: {})


def batches(images: Images, *, seed: int, steps: int, batch: int) -> Iterator[dict[str, Any]]:
    """Batches of permutations, which follow each other without a gap: all have `batch` images."""
    rng, rows = np.random.default_rng([seed, 1]), np.zeros(0, int)
    for _ in range(steps):
        while len(rows) < batch:
            rows = np.concatenate([rows, rng.permutation(len(images.label))])
        chosen, rows = rows[:batch], rows[batch:]
        mask = np.ones(batch, np.float32)
        yield {"image": images.image[chosen], "label": images.label[chosen], "mask": mask}


def evaluated(logits: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy, and mean cross-entropy without smoothing, of logits [>= N, >= K]."""
    logits = logits[: len(labels), :classes].astype(np.float64)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return {
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "loss": float(-logs[np.arange(len(labels)), labels].mean()),
    }


def _parts(images: Images) -> Iterator[np.ndarray]:
    """The images in parts of equal length; the last one is filled up with zeros."""
    for start in range(0, len(images.image), EVALUATED):
        part = images.image[start : start + EVALUATED]
        yield np.pad(part, [(0, EVALUATED - len(part)), *[(0, 0)] * 3])
