"""The residual networks that He et al. 2015 trained on CIFAR-10 (section 4.2)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import (
    ModuleFactory,
    StochasticDepth,
    batch_norm,
    conv,
    global_mean,
    lecun_uniform,
    linear_rates,
)
from cnn_jax.models.registry import register, row
from cnn_jax.models.resnet import last_scale
from cnn_jax.typing import Array

TABLE = {
    # Table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters; 6n + 2 layers, n blocks per stage.
    "resnet20": row(269_722, 0.0408, stage_sizes=(3, 3, 3)),
    "resnet32": row(464_154, stage_sizes=(5, 5, 5)),
    "resnet44": row(658_586, stage_sizes=(7, 7, 7)),
    "resnet56": row(853_018, stage_sizes=(9, 9, 9)),
    "resnet110": row(1_727_962, stage_sizes=(18, 18, 18)),
    # The rule of the family at n = 1, for small images such as 8x8 digits.
    "resnet8": row(75_290, stage_sizes=(1, 1, 1)),
}


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Attributes:
        features: number of output channels.
        shortcut: shortcut where the shape changes. 'A': every second pixel, with zeros for the new
            channels (no parameters; the paper's choice for CIFAR-10). 'B': a 1x1 convolution.
    """

    features: int
    stride: int = 1
    shortcut: str = "A"
    zero_init_residual: bool = True
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, features]
        y = conv(x, self.features, 3, stride=self.stride, dtype=self.dtype, name="conv1")
        y = nn.relu(self.norm(name="bn1")(y))
        y = conv(y, self.features, 3, dtype=self.dtype, name="conv2")
        y = self.norm(name="bn2", scale_init=last_scale(self.zero_init_residual))(y)
        y = self.drop(name="drop_path")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            return nn.relu(x + y)
        if self.shortcut == "A":
            return nn.relu(self._subsampled(x) + y)
        x = conv(x, self.features, 1, stride=self.stride, dtype=self.dtype, name="downsample_conv")
        return nn.relu(self.norm(name="downsample_bn")(x) + y)

    def _subsampled(self, x: Array) -> Array:
        rank, missing = x.ndim - 2, self.features - x.shape[-1]
        x = x[(slice(None), *[slice(None, None, self.stride)] * rank)]
        # Half of the new channels on each side, the usual reading of "extra zero entries".
        return jnp.pad(x, [(0, 0)] * (rank + 1) + [(missing // 2, missing - missing // 2)])


class CifarResNet(nn.Module):
    """A 3x3 convolution and three stages, in as many dimensions as x has.

    Stages: 'layer1' (stride 1), 'layer2' (2), 'layer3' (4).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        stage_sizes: number n of blocks in each stage.
        widths: channels of each stage.
        shortcut: 'A' or 'B', see `CifarBlock`.
        zero_init_residual, stochastic_depth_rate, drop_rate, dtype, axis_name, remat: see
            `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    stage_sizes: Sequence[int]
    widths: Sequence[int] = (16, 32, 64)
    shortcut: str = "A"
    zero_init_residual: bool = True
    stochastic_depth_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        if self.shortcut not in ("A", "B"):
            raise ValueError(f"shortcut={self.shortcut!r}: give 'A' or 'B'.")
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        rates = iter(linear_rates(self.stochastic_depth_rate, sum(self.stage_sizes)))
        block = nn.remat(CifarBlock) if self.remat else CifarBlock
        stages = {}

        x = conv(x, self.widths[0], 3, dtype=self.dtype, name="conv1")
        x = nn.relu(norm(name="bn1")(x))  # [B, 32, 32, 16]
        for i, (width, blocks) in enumerate(zip(self.widths, self.stage_sizes, strict=True)):
            for j in range(blocks):
                x = block(
                    features=width,
                    stride=2 if i > 0 and j == 0 else 1,
                    shortcut=self.shortcut,
                    zero_init_residual=self.zero_init_residual,
                    norm=norm,
                    drop=partial(StochasticDepth, next(rates), not train),
                    dtype=self.dtype,
                    name=f"layer{i + 1}_{j}",
                )(x)
            stages[f"layer{i + 1}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 64]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")
        return head(x)  # [B, K]


register(
    CifarResNet,
    TABLE,
    paper="He et al. 2015, Deep Residual Learning for Image Recognition, arXiv:1512.03385",
    source="section 4.2 and Table 6 of the paper, to the digits it gives; the exact counts "
    "follow from the architecture",
    input_shape=(32, 32, 3),
    num_classes=10,
)
