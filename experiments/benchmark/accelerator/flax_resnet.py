"""ResNet in plain Flax, as people write it: no layer of this package. He et al. 2015, v1.5.

A contender of `experiments.benchmark.accelerator`: `nn.Conv`, `nn.BatchNorm`, explicit padding of
one pixel, a `TrainState`, and one jitted step.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state

STAGES = {"resnet18": ([2, 2, 2, 2], False), "resnet50": ([3, 4, 6, 3], True)}


class Block(nn.Module):
    """Two 3x3 convolutions, or with `bottleneck` 1x1, 3x3 and 1x1 to four times the width."""

    features: int
    stride: int
    bottleneck: bool
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x):
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not self.train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        strides = (self.stride, self.stride)
        shortcut = x
        if self.bottleneck:
            y = nn.relu(norm()(conv(self.features, (1, 1))(x)))
            y = nn.relu(norm()(conv(self.features, (3, 3), strides, padding=1)(y)))
            y = norm()(conv(4 * self.features, (1, 1))(y))
        else:
            y = nn.relu(norm()(conv(self.features, (3, 3), strides, padding=1)(x)))
            y = norm()(conv(self.features, (3, 3), padding=1)(y))
        if shortcut.shape != y.shape:
            shortcut = conv(y.shape[-1], (1, 1), strides, name="shortcut_conv")(x)
            shortcut = norm(name="shortcut_norm")(shortcut)
        return nn.relu(shortcut + y)


class ResNet(nn.Module):
    """x [B, H, W, 3] -> logits [B, K]."""

    stages: Sequence[int]
    bottleneck: bool
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Conv(64, (7, 7), (2, 2), padding=3, use_bias=False, dtype=self.dtype)(x)
        x = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype)(x)
        x = nn.max_pool(nn.relu(x), (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                x = Block(64 * 2**i, stride, self.bottleneck, train, self.dtype)(x)
        x = x.mean((1, 2))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)


class State(train_state.TrainState):
    batch_stats: Any


def create(name: str, num_classes: int, dtype: Any, *, short: bool = False) -> ResNet:
    """The network; with `short` it has one block in all."""
    stages, bottleneck = STAGES[name]
    return ResNet([1] if short else stages, bottleneck, num_classes, dtype)


def start(model: ResNet, variables: Any, tx: optax.GradientTransformation) -> State:
    return State.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=tx,
        batch_stats=variables["batch_stats"],
    )


@partial(jax.jit, donate_argnums=0)
def train_step(state: State, images, labels):
    """(state, loss) after one step of the state's optimiser."""

    def loss_fn(params):
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
        return loss.mean(), updates

    (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state = state.apply_gradients(grads=grads, batch_stats=updates["batch_stats"])
    return state, loss


def renamed(variables: Any, model: ResNet) -> dict[str, Any]:
    """The weights of our network, by the names that Flax gives the modules above."""
    stages, bottleneck = model.stages, model.bottleneck
    convs = 3 if bottleneck else 2
    names = {"conv1": "Conv_0", "bn1": "BatchNorm_0", "fc": "Dense_0"}
    blocks = [(i, j) for i, count in enumerate(stages, start=1) for j in range(count)]
    inner = {f"conv{k + 1}": f"Conv_{k}" for k in range(convs)}
    inner |= {f"bn{k + 1}": f"BatchNorm_{k}" for k in range(convs)}
    inner |= {"downsample_conv": "shortcut_conv", "downsample_bn": "shortcut_norm"}
    result: dict[str, Any] = {}
    for collection, modules in variables.items():
        theirs = {names[key]: value for key, value in modules.items() if key in names}
        for number, (i, j) in enumerate(blocks):
            block = modules[f"layer{i}_{j}"]
            theirs[f"Block_{number}"] = {inner[key]: value for key, value in block.items()}
        result[collection] = theirs
    return result
