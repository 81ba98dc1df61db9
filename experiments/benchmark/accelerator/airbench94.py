"""CIFAR-10 to 94% on one device in seconds: the recipe of Jordan 2024 in JAX, as one program.

arXiv:2404.00498, and airbench94 of github.com/KellerJordan/cifar10-airbench, from which every
number below is taken. 50,000 images lie on the device as bytes; `lax.scan` makes all 476 steps of
a run, with their order, flips, shifts and lookahead, in one compiled program; a second one
evaluates with six views of each image. Parameters are float32, the network computes in bfloat16.
"""

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import models
from cnn_jax.augment import flips, normalise, test_time
from cnn_jax.augment.crops import pad_and_crop
from cnn_jax.models import airbench
from cnn_jax.tasks import classification
from cnn_jax.train import lookahead, optim
from cnn_jax.train import state as states
from cnn_jax.train import step as steps
from cnn_jax.train.state import TrainState
from experiments.benchmark.accelerator import cifar_file

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WHITENED = 5000  # images whose patches are whitened
MOMENTUM = 0.85
# The listing's rates are for the sum over 1,024 examples and without the factor 1 + 1 / (1 - 0.85)
# that Nesterov's momentum brings: 11.5 / 7.67 for a mean
LEARNING_RATE = 11.5 / (1 + 1 / (1 - MOMENTUM))
WEIGHT_DECAY = 0.0153 / (1 + 1 / (1 - MOMENTUM))  # of one step at the full learning rate
BIAS_FACTOR = 64.0  # of batch norm's biases, on the learning rate and not on their decay
FIRST, PEAK_AT, LAST = 0.2, 0.23, 0.07  # share of the learning rate; of the steps; of the rate
LABEL_SMOOTHING = 0.2
SHIFT = 2  # pixels
WHITENING_BIAS_EPOCHS = 3
LOOKAHEAD_FROM, EVERY = 3, 5  # epoch; steps
EVALUATED = 2000  # images at a time


class Settings(NamedTuple):
    """What may differ from the listing, to try it where there is no GPU."""

    widths: tuple[int, ...] = (64, 256, 256)
    batch: int = 1024
    epochs: float = 9.9
    dtype: str = "bfloat16"
    train_images: int = 0  # the first so many; 0 for all
    test_images: int = 0


TINY = Settings((8, 8, 8), 16, 1.5, "float32", 64, 32)


class Data(NamedTuple):
    """uint8 [N, 32, 32, 3] and int32 [N], on the device."""

    train_images: Any
    train_labels: Any
    test_images: Any
    test_labels: Any


class Programs(NamedTuple):
    """What a run calls: both compiled."""

    train: Any  # (state, data, key) -> state
    evaluate: Any  # (state, data) -> (accuracy with six views, with one)
    create: Any  # seed -> state
    compile_seconds: float
    whitening_seconds: float
    steps: int


def runs(
    file: str, *, runs: int, dtype: str, tiny: bool = False, settings: Settings | None = None
) -> Iterator[dict[str, Any]]:
    """Facts of the file, compilation, and then a row for each run.

    Args:
        file: CIFAR-10 packed by `pack`.
        runs: number of runs, with seeds 0, 1, ...
        dtype: of the computation.
        tiny: a few narrow steps.
        settings: instead of those of `dtype` and `tiny`.
    """
    settings = settings or (TINY if tiny else Settings(dtype=dtype))
    arrays = cifar_file.read(file)
    yield {"file": cifar_file.description(arrays)}
    few, test = settings.train_images or None, settings.test_images or None
    data = Data(
        *map(jnp.asarray, (arrays["x_train"][:few], arrays["y_train"][:few])),
        *map(jnp.asarray, (arrays["x_test"][:test], arrays["y_test"][:test])),
    )
    programs = build(settings, data)
    yield {"compile_seconds": round(programs.compile_seconds, 1), "steps": programs.steps}
    for seed in range(runs):
        state = jax.block_until_ready(programs.create(seed))
        begun = time.perf_counter()
        state = programs.train(state, data, jax.random.key(seed))
        accuracy, plain = (float(a) for a in programs.evaluate(state, data))
        seconds = time.perf_counter() - begun + programs.whitening_seconds
        yield {"run": seed, "accuracy": accuracy, "one_view": plain, "seconds": seconds}


def build(settings: Settings, data: Data) -> Programs:
    """Compiles a whole run and its evaluation."""
    batch = settings.batch
    per_epoch = len(data.train_images) // batch  # what is left over is dropped
    total = math.ceil(per_epoch * settings.epochs)
    model = models.create(
        "airbench", num_classes=10, widths=settings.widths, dtype=jnp.dtype(settings.dtype)
    )
    begun = time.perf_counter()
    first = normalise(data.train_images[:WHITENED], mean=MEAN, std=STD)
    whitening = airbench.from_data(np.asarray(first))
    whitening_seconds = time.perf_counter() - begun
    tx = optimizer(total, per_epoch)
    step = steps.make_train_step(
        model,
        classification.classification(10, label_smoothing=LABEL_SMOOTHING),
        tx,
        seed=0,
        augment=_shifted,
    )

    def create(seed: int) -> TrainState:
        image = jax.ShapeDtypeStruct((batch, *data.train_images.shape[1:]), jnp.float32)
        variables = states.init_variables(model, image, seed=seed)
        return states.state_from({**variables, **whitening}, tx, ema=False)

    train = jax.jit(partial(_train, step, batch=batch, total=total), donate_argnums=0)
    evaluate = jax.jit(partial(_evaluate, model))
    state = create(0)
    begun = time.perf_counter()
    compiled = train.lower(state, data, jax.random.key(0)).compile()
    evaluation = evaluate.lower(state, data).compile()
    return Programs(
        compiled, evaluation, create, time.perf_counter() - begun, whitening_seconds, total
    )


def optimizer(total: int, per_epoch: int) -> optax.GradientTransformation:
    """SGD with Nesterov's momentum, in the two groups of the listing, and a frozen bias in the end.

    Args:
        total: steps of the run.
        per_epoch: steps of an epoch.
    """
    peak = max(1, int(PEAK_AT * total))
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(FIRST * LEARNING_RATE, LEARNING_RATE, peak),
            optax.linear_schedule(LEARNING_RATE, LAST * LEARNING_RATE, max(1, total - peak)),
        ],
        [peak],
    )
    decay = WEIGHT_DECAY / LEARNING_RATE

    def chosen(wanted: bool):
        return lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: _is_of_norm(jax.tree_util.keystr(path)) == wanted, params
        )

    sgd = optax.chain(
        optax.add_decayed_weights(decay, chosen(False)),
        optax.add_decayed_weights(decay / BIAS_FACTOR, chosen(True)),
        optax.sgd(schedule, momentum=MOMENTUM, nesterov=True),
    )
    frozen_from = WHITENING_BIAS_EPOCHS * per_epoch

    def only_whitening(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "layer0" in jax.tree_util.keystr(path), params
        )

    return optax.chain(
        optim.scale_by_path(sgd, lambda path: BIAS_FACTOR if _is_of_norm(path) else 1.0),
        optax.masked(
            optax.scale_by_schedule(lambda step: jnp.where(step < frozen_from, 1.0, 0.0)),
            only_whitening,
        ),
    )


def _is_of_norm(path: str) -> bool:
    return "norm" in path


def _shifted(keys: Any, batch: Any) -> dict[str, Any]:
    """Images by turns mirrored, shifted by up to two pixels, and normalised."""
    images = flips.alternating(batch["image"], batch["first"], batch["epoch"])
    images = jax.vmap(partial(pad_and_crop, padding=SHIFT))(keys, images)
    return {**batch, "image": normalise(images, mean=MEAN, std=STD)}


def _train(step: Any, state: TrainState, data: Data, key: Any, *, batch: int, total: int) -> Any:
    """All steps of a run."""
    count = len(data.train_images)
    per_epoch = count // batch
    order_key, flip_key = jax.random.split(key)
    epochs = math.ceil(total / per_epoch)
    order = jax.vmap(lambda k: jax.random.permutation(k, count))(
        jax.random.split(order_key, epochs)
    )
    order = order[:, : per_epoch * batch].reshape(-1, batch)[:total]  # [total, B]
    first = jax.random.bernoulli(flip_key, shape=(count,))
    decay = lookahead.rising_decay(total, every=EVERY)
    begins = -(-(LOOKAHEAD_FROM * per_epoch + 1) // EVERY) * EVERY  # number of the first meeting

    def one(carry: Any, given: Any) -> tuple[Any, None]:
        state, slow = carry
        index, chosen = given
        made = index + 1
        state, _ = step(
            state,
            {
                "image": data.train_images[chosen],
                "label": data.train_labels[chosen],
                "first": first[chosen],
                "epoch": index // per_epoch,
                "mask": jnp.ones(batch),
            },
        )
        now = (made % EVERY == 0) & (made >= begins)
        rho = jnp.where(made > begins, decay(made), 0.0)
        fast = (state.params, state.model_state)
        slow = lookahead.meet(slow, fast, rho, now=now)
        # the listing also returns to the slow weights at the end of every epoch
        ends = (made % per_epoch == 0) | (made == total)
        back = now | (ends & (made >= begins))
        params, rest = jax.tree.map(lambda a, b: jnp.where(back, a, b), slow, fast)
        return (state.replace(params=params, model_state=rest), slow), None

    slow = (state.params, state.model_state)
    (state, _), _ = jax.lax.scan(one, (state, slow), (jnp.arange(total), order))
    return state


def _evaluate(model: Any, state: TrainState, data: Data) -> tuple[Any, Any]:
    """The accuracy with six views of each image, and with one."""
    variables = states.inference_variables(state)
    size = math.gcd(EVALUATED, len(data.test_images))

    def right(given: Any) -> Any:
        images, labels = given
        images = normalise(images, mean=MEAN, std=STD)

        def logits(x):
            return model.apply(variables, x, train=False).astype(jnp.float32)

        each = test_time.mirrored_and_shifted(logits, images), logits(images)
        return jnp.stack([(y.argmax(-1) == labels).sum() for y in each])

    parts = jax.tree.map(
        lambda a: a.reshape(-1, size, *a.shape[1:]), (data.test_images, data.test_labels)
    )
    both = jax.lax.map(right, parts).sum(0) / len(data.test_images)
    return both[0], both[1]
