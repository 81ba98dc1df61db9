"""GoogLeNet: Inception v1, with BatchNorm as in its published weights."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import (
    ConvNormAct,
    ModuleFactory,
    adaptive_mean,
    batch_norm,
    global_mean,
    lecun_uniform,
    max_pool,
    require_size,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.layouts import flattened
from cnn_jax.weights.torch import Rules

TABLE = {
    "googlenet": row(6_624_904, 1.498),  # without the auxiliary heads
}

INCEPTIONS = {  # arXiv:1409.4842, Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUX_AFTER = {"4a": "aux1", "4d": "aux2"}
AUX_GRID = 4
# The published weights come from a port to TensorFlow in which the 5x5 convolutions are 3x3;
# torchvision issue 906.
LARGE_KERNEL = 3
MIN_SIZE = 15


class Inception(nn.Module):
    """Four branches side by side: 1x1, 3x3, "5x5", and a pooled 1x1 (figure 2 b)."""

    widths: tuple[int, int, int, int, int, int]
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        layer = partial(ConvNormAct, norm=self.norm, dtype=self.dtype)
        one, reduce3, three, reduce5, five, pool = self.widths
        conv1x1 = layer(one, 1, name="conv1x1")(x)
        conv3x3 = layer(three, 3, name="conv3x3")(layer(reduce3, 1, name="reduce3x3")(x))
        reduced = layer(reduce5, 1, name="reduce5x5")(x)
        conv5x5 = layer(five, LARGE_KERNEL, name="conv5x5")(reduced)
        pooled = layer(pool, 1, name="pool_proj")(max_pool(x, 3, stride=1, padding=1))
        return jnp.concatenate([conv1x1, conv3x3, conv5x5, pooled], axis=-1)


class AuxiliaryHead(nn.Module):
    """A classifier in the middle of the network, in training only (section 5)."""

    num_classes: int
    drop_rate: float
    train: bool
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, K]
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01))
        x = adaptive_mean(x, AUX_GRID)  # [B, 4, 4, C]
        x = ConvNormAct(128, 1, norm=self.norm, dtype=self.dtype, name="conv")(x)
        x = x.reshape(x.shape[0], -1)  # [B, 2048]
        x = nn.relu(dense(1024, name="fc1")(x))
        x = nn.Dropout(self.drop_rate, deterministic=not self.train, name="drop")(x)
        return dense(self.num_classes, name="fc2")(x)


class GoogLeNet(nn.Module):
    """A stem and nine inception modules.

    Stages: 'conv1' (stride 2), 'conv3' (4), 'inception3b' (8), 'inception4e' (16),
    'inception5b' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        aux_heads: whether there are the two auxiliary classifiers. In training the model then
            returns {'logits', 'aux1', 'aux2'}; the paper adds their losses with weight 0.3.
        drop_rate: dropout rate before the last layer; 0.4 in the paper, 0.2 in torchvision.
        aux_drop_rate: dropout rate in the auxiliary heads, section 5.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the inception modules in the backward pass.
    """

    num_classes: int | None
    aux_heads: bool = False
    drop_rate: float = 0.2
    aux_drop_rate: float = 0.7
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "GoogLeNet")
        norm = batch_norm(train, epsilon=1e-3, dtype=self.dtype, axis_name=self.axis_name)
        layer = partial(ConvNormAct, norm=norm, dtype=self.dtype)
        inception = nn.remat(Inception) if self.remat else Inception
        stages, outputs = {}, {}
        x = stages["conv1"] = layer(64, 7, stride=2, name="conv1")(x)
        x = max_pool(x, 3, stride=2, ceil=True)
        x = layer(64, 1, name="conv2")(x)
        x = stages["conv3"] = layer(192, 3, name="conv3")(x)
        x = max_pool(x, 3, stride=2, ceil=True)
        for part, widths in INCEPTIONS.items():
            x = inception(widths, norm, self.dtype, name=f"inception{part}")(x)
            if part in ("3b", "4e", "5b"):
                stages[f"inception{part}"] = x
            if part in ("3b", "4e"):
                x = max_pool(x, 3 if part == "3b" else 2, stride=2, ceil=True)
            build_aux = self.aux_heads and (train or self.is_initializing())
            if build_aux and part in AUX_AFTER and self.num_classes is not None:
                name = AUX_AFTER[part]
                outputs[name] = AuxiliaryHead(
                    self.num_classes, self.aux_drop_rate, train, norm, self.dtype, name=name
                )(x)
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 1024]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")(
            x
        )  # [B, K]
        return {"logits": logits, **outputs} if train and self.aux_heads else logits


def _convs(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (f"{theirs}.conv", f"{ours}/conv"), (f"{theirs}.bn", f"{ours}/norm")


TORCHVISION_RULES: Rules = (
    *(rule for name in ("conv1", "conv2", "conv3") for rule in _convs(name, name)),
    *(
        rule
        for part in INCEPTIONS
        for theirs, ours in (
            ("branch1", "conv1x1"),
            ("branch2.0", "reduce3x3"),
            ("branch2.1", "conv3x3"),
            ("branch3.0", "reduce5x5"),
            ("branch3.1", "conv5x5"),
            ("branch4.1", "pool_proj"),
        )
        for rule in _convs(f"inception{part}.{theirs}", f"inception{part}/{ours}")
    ),
    *_convs("aux{i}.conv", "aux{i}/conv"),
    ("aux{i}.fc1", "aux{i}/fc1", flattened(AUX_GRID, AUX_GRID, 128)),
    ("aux{i}.fc2", "aux{i}/fc2"),
    ("fc", "fc"),
)

register(
    GoogLeNet,
    TABLE,
    paper="Szegedy et al. 2014, Going Deeper with Convolutions, arXiv:1409.4842",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
    rules={"torchvision": TORCHVISION_RULES},
)
