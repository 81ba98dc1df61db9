"""Deep networks of equal layers for sequences, and the signals and gradients within them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.typing import HostBatch

WIDTH = 16  # channels of each layer
POSITIONS = 20  # of each layer: half of MNIST-1D's 40
ACTIVATIONS: dict[str, Callable] = {"sigmoid": nn.sigmoid, "tanh": nn.tanh, "relu": nn.relu}


class Convolution(nn.Module):
    """A convolution of width 3 and `same` padding, as one product of matrices.

    The three inputs of a window are three shifted copies beside each other. Dozens of layers in a
    loop are several times faster so than by a convolution of the library.

    Attributes:
        features: output channels.
        variance: variance of the weights times their number of inputs.
        bias: whether it has one.
    """

    features: int
    variance: float
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        after = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))[:, 1:]
        init = nn.initializers.variance_scaling(self.variance, "fan_in", "normal")
        layer = nn.Dense(self.features, use_bias=self.bias, kernel_init=init, name="window")
        return layer(jnp.concatenate([before, x, after], -1))


class Block(nn.Module):
    """Two convolutions; with `residual`, x + f(x) in place of f(x).

    `nudges` [2, B, L, C] are added to the outputs of the two layers: zeros, whose gradients are the
    gradients of these outputs.
    """

    act: str
    variance: float
    norm: bool
    residual: bool
    width: int
    train: bool

    @nn.compact
    def __call__(self, x, nudges):
        shortcut, sizes = x, []
        for i, name in enumerate(("first", "second")):
            x = Convolution(self.width, self.variance, bias=not self.norm, name=name)(x)
            if self.norm:
                norm = nn.BatchNorm(use_running_average=not self.train, momentum=0.9, name=f"bn{i}")
                x = norm(x)
            x = ACTIVATIONS[self.act](x)
            if i and self.residual:
                x = shortcut + x
            x = x + nudges[i]
            sizes.append(jnp.sqrt((x**2).mean()))
        return x, jnp.stack(sizes)


class Chain(nn.Module):
    """1 + 2 * `blocks` convolutions of one width, a mean, and a fully connected layer.

    Attributes:
        blocks: blocks of two layers.
        act: name in ACTIVATIONS.
        variance: variance of the weights times their number of inputs.
        norm: whether batch norm stands before each activation but the first.
        residual: whether each block has a shortcut.
        width: channels.
    """

    blocks: int
    act: str = "relu"
    variance: float = 2.0
    norm: bool = False
    residual: bool = False
    width: int = WIDTH

    @nn.compact
    def __call__(self, x, *, train, nudges=None):
        """x [B, 40, 1] -> logits [B, 10]; with nudges [blocks, 2, B, 20, C], also their sizes."""
        x = Convolution(self.width, self.variance, name="first")(x[:, ::2])
        x = ACTIVATIONS[self.act](x)
        inside = nudges is not None
        if nudges is None:
            nudges = jnp.zeros((self.blocks, 2, 1, 1, 1))
        repeated = nn.scan(
            Block, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True}
        )
        options = (self.act, self.variance, self.norm, self.residual, self.width, train)
        x, sizes = repeated(*options, name="blocks")(x, nudges)
        logits = nn.Dense(10, name="head")(x.mean(1))
        return (logits, sizes.ravel()) if inside else logits


def inside(model: Chain, data: HostBatch, seeds: range) -> dict[str, np.ndarray]:
    """What passes through new networks.

    Returns:
        signal: [seeds, layers], the root mean square of each layer's outputs.
        gradient: [seeds, layers], the same of the gradients of these outputs.
        first: [seeds], the norm of the gradient of the first layer's weights.
    """
    image, label = data["image"][:64], data["label"][:64]
    zeros = jnp.zeros((model.blocks, 2, len(image), POSITIONS, model.width))

    @jax.jit
    def of(key):
        variables = model.init(key, image[:1], train=False)

        def loss(params, nudges):
            (logits, sizes), _ = model.apply(
                {**variables, "params": params}, image, train=True, nudges=nudges,
                mutable=["batch_stats"],
            )  # fmt: skip
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return losses.mean(), sizes

        (params, nudges), sizes = jax.grad(loss, argnums=(0, 1), has_aux=True)(
            variables["params"], zeros
        )
        sums = jnp.sqrt((nudges**2).mean((2, 3, 4))).ravel()
        return sizes, sums, optax.tree.norm(params["first"]["window"]["kernel"])

    found = [of(jax.random.key(seed)) for seed in seeds]
    names = ("signal", "gradient", "first")
    return {
        n: np.stack(list(map(np.asarray, v)))
        for n, v in zip(names, zip(*found, strict=True), strict=True)
    }


def without(variables: Any, block: int) -> Any:
    """The variables of a chain without one of its blocks."""

    def shorter(tree):
        return jax.tree.map(lambda leaf: np.delete(np.asarray(leaf), block, 0), tree)

    return {
        kind: {n: shorter(tree) if n == "blocks" else tree for n, tree in each.items()}
        for kind, each in variables.items()
    }
