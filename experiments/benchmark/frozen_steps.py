"""Our frozen networks as a contender of `experiments.benchmark.train_step`: evaluation alone."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cnn_jax.cpu
from experiments.benchmark import jax_steps
from experiments.benchmark.networks import Network


class FrozenSteps:
    """Evaluation of the network by `cnn_jax.cpu.freeze`, on the weights of `JaxSteps`."""

    def __init__(self, network: Network, x: np.ndarray):
        model = jax_steps.create(network)
        self.x = jnp.asarray(x)
        variables = model.lazy_init(
            jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype), train=False
        )
        self._parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        start = time.perf_counter()
        self._evaluate = cnn_jax.cpu.freeze(
            lambda variables, x: model.apply(variables, x, train=False), variables
        )
        jax.block_until_ready(self._evaluate(self.x))
        self.compile_seconds = time.perf_counter() - start

    def evaluate(self) -> Any:
        """Scores [B, K] or [B, *space, K]."""
        return jax.block_until_ready(self._evaluate(self.x))

    def parameters(self) -> int:
        return self._parameters
