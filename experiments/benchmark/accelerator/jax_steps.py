"""Train steps in JAX: ours, and those of plain Flax. Each is compiled once, for one batch."""

import hashlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import cnn_jax.gpu
from cnn_jax import tasks
from cnn_jax.analysis import utilisation
from cnn_jax.train import state as states
from cnn_jax.train import step as steps
from experiments.benchmark.accelerator import flax_resnet, networks
from experiments.benchmark.accelerator.networks import Row

LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Steps:
    """A compiled step and its state on the device.

    Attributes:
        compile_seconds: of the step, without a cache.
        program_bytes: what the compiler plans for the step at its peak: arguments, results, and
            what lies between; None where it does not say.
        tuned: what `cnn_jax.gpu` does otherwise: key of an operation -> (method, its milliseconds,
            XLA's); None if it was not asked.
    """

    def __init__(self, contender: str, of: Row, dtype: str, *, tune: bool = False):
        """contender: 'ours' or 'flax'."""
        x, y = networks.arrays(of)
        variables = jax.device_put(networks.variables(of))
        tx = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
        step, self._state, self._batch = (_ours if contender == "ours" else _flax)(
            of, jnp.dtype(dtype), variables, tx, jnp.asarray(x), jnp.asarray(y)
        )
        self.tuned: dict[str, tuple[str, float, float]] | None = None
        if tune:
            self.tuned = _tuned(step, self._state, *self._batch)
        begun = time.perf_counter()
        jitted = jax.jit(step, donate_argnums=0)
        self._step = jitted.lower(self._state, *self._batch).compile()
        self.compile_seconds = time.perf_counter() - begun
        self.program_bytes = _planned(self._step)

    def run(self, count: int) -> float:
        """Makes steps and waits for them; returns the loss of the last."""
        for _ in range(count):
            self._state, loss = self._step(self._state, *self._batch)
        return float(loss)

    def peak_bytes(self) -> int | None:
        """Most memory of the device in use so far; None where the device does not say."""
        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")

    def digest(self) -> str:
        """A hash of all bits of the state."""
        bits = hashlib.sha256()
        for leaf in jax.tree.leaves(jax.device_get(self._state)):
            bits.update(np.ascontiguousarray(leaf).tobytes())
        return bits.hexdigest()[:16]


def _tuned(step: Any, *args: Any) -> dict[str, tuple[str, float, float]]:
    """Measures what a step consists of, and uses what is faster from now on."""
    platform = "cpu" if jax.default_backend() == "cpu" else ""  # to try the command on a CPU
    with tempfile.TemporaryDirectory() as folder:  # so that all is measured now
        file = f"{folder}/verdicts.json"
        timings = cnn_jax.gpu.tune(step, *args, platform=platform, file=file)
        platforms = (platform,) if platform else cnn_jax.gpu.GPUS
        cnn_jax.gpu.enable(cnn_jax.gpu.load(file), platforms=platforms)
    return {
        t.operation.key: (t.chosen, t.milliseconds[t.chosen], t.milliseconds["xla"])
        for t in timings
        if t.chosen != "xla"
    }


def _ours(of: Row, dtype: Any, variables: Any, tx: Any, x: Any, y: Any):
    if of.dense:
        task = tasks.segmentation.segmentation([str(k) for k in range(of.classes)])
    else:
        task = tasks.classification.classification(of.classes)
    step = steps.make_train_step(networks.create(of, dtype), task, tx, seed=0)
    state = states.state_from(variables, tx, ema=False)
    batch = {"image": x, "label": y, "mask": jnp.ones(of.batch)}

    def with_loss(state, batch):
        state, metrics = step(state, batch)
        return state, metrics["loss"]

    return with_loss, state, (batch,)


def _flax(of: Row, dtype: Any, variables: Any, tx: Any, x: Any, y: Any):
    model = flax_resnet.create(of.model, of.classes, dtype, short=of.short)
    state = flax_resnet.start(model, flax_resnet.renamed(variables, model), tx)
    return flax_resnet.train_step, state, (x, y)


def _planned(compiled: Any) -> int | None:
    try:
        plan = compiled.memory_analysis()
        both = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        return int(both + plan.temp_size_in_bytes)
    except (AttributeError, NotImplementedError, TypeError, jax.errors.JaxRuntimeError):
        return None


def flops(of: Row) -> int:
    """Floating-point operations of a step for one image, as the model needs them."""
    return utilisation.training_flops(networks.create(of, jnp.float32), networks.image(of))


def card() -> dict[str, Any]:
    """The device that JAX uses, and how many there are."""
    device = jax.devices()[0]
    return {
        "card": device.device_kind,
        "backend": jax.default_backend(),
        "devices": jax.device_count(),
        "runtime": str(getattr(device.client, "platform_version", "")).split("\n")[0][:60],
    }
