"""SqueezeNet: AlexNet's accuracy with 50x fewer parameters."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import conv, global_mean, max_pool, require_size
from cnn_jax.models.registry import Row, register, row
from cnn_jax.typing import Array
from cnn_jax.weights.torch import Rules

# Table 1, fire2 to fire9: channels of the squeeze and of each of the two expand convolutions.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
MIN_SIZE = 21


class Fire(nn.Module):
    """A 1x1 "squeeze", then parallel 1x1 and 3x3 "expand" convolutions (figure 1)."""

    squeeze: int
    expand: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H, W, 2 expand]
        layer = partial(
            conv, use_bias=True, kernel_init=nn.initializers.he_uniform(), dtype=self.dtype
        )
        x = nn.relu(layer(x, self.squeeze, 1, name="squeeze"))
        expand1x1 = nn.relu(layer(x, self.expand, 1, name="expand1x1"))
        expand3x3 = nn.relu(layer(x, self.expand, 3, name="expand3x3"))
        return jnp.concatenate([expand1x1, expand3x3], axis=-1)


class SqueezeNet(nn.Module):
    """A convolution, eight fire modules and a convolution to the classes.

    Stages: 'conv1' (stride 2), 'fire4' and 'fire8' in version 1.0 or 'fire3' and 'fire5' in 1.1
    (4 and 8, each before a pooling), 'fire9' (16).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        stem: channels and kernel of the first convolution.
        pool_before: numbers of the fire modules that follow a max pool.
        drop_rate: dropout rate before the last convolution (section 3.1, after fire9).
        axis_name: accepted as in every model, without effect: there is no BatchNorm.
        remat: whether to recompute the fire modules in the backward pass.
    """

    num_classes: int | None
    stem: tuple[int, int]
    pool_before: Sequence[int]
    drop_rate: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "SqueezeNet")
        fire = nn.remat(Fire) if self.remat else Fire
        layer = partial(conv, use_bias=True, padding=0, dtype=self.dtype)
        stages = {}
        features, kernel = self.stem
        init = nn.initializers.he_uniform()
        x = layer(x, features, kernel, stride=2, kernel_init=init, name="conv1")
        x, last = nn.relu(x), "conv1"
        for i, (squeeze, expand) in enumerate(FIRES, start=2):
            if i in self.pool_before:
                stages[last] = x
                x = max_pool(x, 3, stride=2, ceil=True)
            x, last = fire(squeeze, expand, dtype=self.dtype, name=f"fire{i}")(x), f"fire{i}"
        stages[last] = x
        if self.num_classes is None:
            return stages

        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop9")(x)
        init = nn.initializers.normal(0.01)
        x = nn.relu(layer(x, self.num_classes, 1, kernel_init=init, name="conv10"))
        return global_mean(x)  # [B, K]


def _rules(pool_before: Sequence[int]) -> Rules:
    """torchvision's names. It counts ReLU and pooling too: features.0, features.3, ..."""
    rules: list[tuple[str, str]] = [("features.0", "conv1")]
    index = 2
    for i in range(2, 2 + len(FIRES)):
        index += i in pool_before
        rules += [
            (f"features.{index}.{part}", f"fire{i}/{part}")
            for part in ("squeeze", "expand1x1", "expand3x3")
        ]
        index += 1
    return (*rules, ("classifier.1", "conv10"))


def _row(params: int, gmacs: float, *, pool_before: Sequence[int], **fields: Any) -> Row:
    changes = {"rules": {"torchvision": _rules(pool_before)}}
    return row(params, gmacs, changes=changes, pool_before=pool_before, **fields)


TABLE = {
    # arXiv:1602.07360, Table 1.
    "squeezenet1_0": _row(1_248_424, 0.819, stem=(96, 7), pool_before=(2, 5, 9)),
    # The authors' second version, github.com/forresti/SqueezeNet: 2.4x less computation.
    "squeezenet1_1": _row(1_235_496, 0.349, stem=(64, 3), pool_before=(2, 4, 6)),
}

register(
    SqueezeNet,
    TABLE,
    paper="Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and "
    "<0.5MB model size, arXiv:1602.07360",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
)
