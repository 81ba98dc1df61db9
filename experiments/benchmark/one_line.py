"""The effect of one line, `cnn_jax.cpu.enable()`, in programs written with other libraries.

    python -m experiments.benchmark.one_line --workdir=DIR

The same small residual network, with 32x32 images in batches of 32, is written idiomatically in
Flax, in Equinox (channels first, one example under vmap) and in Keras on JAX. Each makes a step of
gradient descent with and without the line; the two take turns. Equinox and Keras are timed if they
are installed: pip install -e '.[benchmark]'
"""

import json
import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

import cnn_jax.cpu
from experiments import entry
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", "", "Directory for result.json; '' for none.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Number of timed steps of each.", lower_bound=1)

BATCH, SIZE, WIDTH, BLOCKS, CLASSES = 32, 32, 64, 3, 10


def data() -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    x = random.standard_normal((BATCH, SIZE, SIZE, 3), np.float32)
    return jnp.asarray(x), jnp.asarray(random.integers(0, CLASSES, BATCH))


def cross_entropy(logits: Any, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def flax_step() -> Callable[[], object]:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(WIDTH, (3, 3))(x))
            for _ in range(BLOCKS):
                y = nn.relu(nn.Conv(WIDTH, (3, 3))(x))
                x = nn.relu(x + nn.Conv(WIDTH, (3, 3))(y))
            return nn.Dense(CLASSES)(x.mean((1, 2)))

    x, y = data()
    net = Net()
    params = net.init(jax.random.key(0), x)
    step = jax.jit(lambda p: jax.grad(lambda p: cross_entropy(net.apply(p, x), y))(p))
    compiled = step.lower(params).compile()
    return lambda: jax.block_until_ready(compiled(params))


def equinox_step() -> Callable[[], object]:
    import equinox as eqx

    class Net(eqx.Module):
        stem: eqx.nn.Conv2d
        convs: list[eqx.nn.Conv2d]
        head: eqx.nn.Linear

        def __init__(self, key):
            keys = iter(jax.random.split(key, 2 * BLOCKS + 2))
            self.stem = eqx.nn.Conv2d(3, WIDTH, 3, padding=1, key=next(keys))
            self.convs = [
                eqx.nn.Conv2d(WIDTH, WIDTH, 3, padding=1, key=next(keys)) for _ in range(2 * BLOCKS)
            ]
            self.head = eqx.nn.Linear(WIDTH, CLASSES, key=next(keys))

        def __call__(self, x):  # [C, H, W]
            x = jax.nn.relu(self.stem(x))
            for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
                x = jax.nn.relu(x + second(jax.nn.relu(first(x))))
            return self.head(x.mean((1, 2)))

    x, y = data()
    x = x.transpose(0, 3, 1, 2)
    net = Net(jax.random.key(0))
    params, static = eqx.partition(net, eqx.is_array)

    def loss(params):
        return cross_entropy(jax.vmap(eqx.combine(params, static))(x), y)

    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    return lambda: jax.block_until_ready(compiled(params))


def keras_step() -> Callable[[], object]:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    def conv(x):
        return keras.layers.Conv2D(WIDTH, 3, padding="same")(x)

    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.ReLU()(conv(inputs))
    for _ in range(BLOCKS):
        y = conv(keras.layers.ReLU()(conv(x)))
        x = keras.layers.ReLU()(keras.layers.add([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    x, y = data()
    params = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]

    def loss(params):
        logits, _ = model.stateless_call(params, fixed, x)
        return cross_entropy(logits, y)

    compiled = jax.jit(jax.grad(loss)).lower(params).compile()
    return lambda: jax.block_until_ready(compiled(params))


def main() -> int:
    rows = []
    for name, make in {"flax": flax_step, "equinox": equinox_step, "keras": keras_step}.items():
        try:
            with cnn_jax.cpu.enabled(False):
                stock = make()
            with cnn_jax.cpu.enabled():
                ours = make()
        except ImportError as error:
            print(f"{name}: left out, {error}; pip install -e '.[benchmark]'")
            continue
        times = timing.alternate({"stock": stock, "ours": ours}, repeats=REPEATS.value)
        median = timing.medians(times)
        rows.append(
            {
                "library": name,
                **{f"{key}_ms": round(1e3 * value, 1) for key, value in median.items()},
                "vs_stock": round(median["stock"] / median["ours"], 2),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "geomean_vs_stock": round(timing.geometric_mean(row["vs_stock"] for row in rows), 2),
        "repeats": REPEATS.value,
        "machine": timing.machine(),
        "rows": rows,
    }
    timing.write_result(WORKDIR.value, result)
    return 0


if __name__ == "__main__":
    entry.launch(main)
