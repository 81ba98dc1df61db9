"""JAX's side of `experiments.benchmark.train_step`."""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import models, weights
from cnn_jax.cpu import memory
from cnn_jax.weights import Rules, layouts
from experiments.benchmark.networks import Network

# Names of the networks that are not torchvision's, as `pytorch.train_step` writes them
OWN_RULES: dict[str, Rules] = {
    "wrn_16_4": (
        ("layer{i}.{j}.downsample", "layer{i}_{j}/downsample_conv"),
        ("layer{i}.{j}.conv{k}", "layer{i}_{j}/conv{k}"),
        ("layer{i}.{j}.bn{k}", "layer{i}_{j}/bn{k}"),
        ("conv1", "conv1"),
        ("bn", "bn"),
        ("fc", "fc"),
    ),
    "unet": (
        ("encoders.{i}.conv{k}", "encoder{i}/conv{k}"),
        ("encoders.{i}.bn{k}", "encoder{i}/bn{k}"),
        ("decoders.{i}.conv{k}", "decoder{i}/conv{k}"),
        ("decoders.{i}.bn{k}", "decoder{i}/bn{k}"),
        ("ups.{i}", "up{i}", layouts.TRANSPOSED_CONV),
        ("head", "head"),
    ),
}


def create(network: Network) -> nn.Module:
    """The network without dropout and stochastic depth: each contender drops others."""
    model = models.create(network.model, num_classes=network.num_classes, **network.fields)
    rates = ("drop_rate", "aux_drop_rate", "stochastic_depth_rate")
    off: dict[str, Any] = {name: 0.0 for name in rates if hasattr(model, name)}
    return model.clone(**off)


def rules(network: Network) -> Rules:
    """PyTorch's names of its parameters."""
    return OWN_RULES.get(network.name) or models.describe(network.model).rules["torchvision"]


class JaxSteps:
    """Training and evaluation steps, compiled under the lowering rules in force.

    The initial weights are the same in each process.
    """

    def __init__(self, network: Network, x: np.ndarray, y: np.ndarray, save: str = ""):
        """
        Args:
            save: new file for the initial weights by PyTorch's names; '' for none.
        """
        model = create(network)
        self.x, self.y = jnp.asarray(x), jnp.asarray(y)
        variables = dict(
            model.lazy_init(jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype), train=False)
        )
        if save:
            tensors = weights.export_torch(jax.device_get(variables), rules(network))
            weights.write(save, tensors, {"format": "pt"})
        params = variables.pop("params")
        tx = optax.sgd(0.01, momentum=0.9)

        def train(state, x, y):
            params, rest, opt_state = state

            def loss(params):
                outputs, new = model.apply(
                    {"params": params, **rest}, x, train=True, mutable=list(rest)
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
                return losses.mean(), new

            (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), rest, opt_state), value

        def evaluate(state, x):
            return model.apply({"params": state[0], **state[1]}, x, train=False)

        self.state = (params, variables, tx.init(params))
        start = time.perf_counter()
        lowered = jax.jit(train, donate_argnums=0).lower(self.state, self.x, self.y)
        self._train = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        self._evaluate = jax.jit(evaluate).lower(self.state, self.x).compile()

    def train(self) -> Any:
        """One step; its loss."""
        self.state, value = self._train(self.state, self.x, self.y)
        jax.block_until_ready((self.state, value))
        memory.settle()  # as the loop of training commands does
        return value

    def evaluate(self) -> Any:
        """Scores [B, K] or [B, *space, K]."""
        return jax.block_until_ready(self._evaluate(self.state, self.x))

    def memory_analysis(self) -> Any:
        """XLA's account of the training step's memory."""
        return self._train.memory_analysis()

    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.state[0]))
