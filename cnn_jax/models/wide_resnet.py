"""Wide residual networks for small images (Zagoruyko and Komodakis 2016)."""

from functools import partial
from typing import Any

import flax.linen as nn

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
from cnn_jax.typing import Array

TABLE = {
    # Tables 4 and 5, in millions: 0.6, 2.2, 8.9, 35.7 (40 layers), 36.5, 52.5 (28), 17.2, 26.8
    # (22), 11.0, 17.1 (16).
    "wrn_16_4": row(2_748_890, depth=16, widen=4),
    "wrn_16_8": row(10_961_370, depth=16, widen=8),
    "wrn_16_10": row(17_116_634, depth=16, widen=10),
    "wrn_22_8": row(17_158_106, depth=22, widen=8),
    "wrn_22_10": row(26_797_914, depth=22, widen=10),
    "wrn_28_10": row(36_479_194, depth=28, widen=10),
    "wrn_28_12": row(52_517_850, depth=28, widen=12),
    "wrn_40_1": row(563_930, depth=40, widen=1),
    "wrn_40_2": row(2_243_546, depth=40, widen=2),
    "wrn_40_4": row(8_949_210, depth=40, widen=4),
    "wrn_40_8": row(35_748_314, depth=40, widen=8),
}

BASE_WIDTHS = (16, 32, 64)  # Table 1, times `widen`


class WideBlock(nn.Module):
    """BN-ReLU-conv, dropout, BN-ReLU-conv: B(3, 3) of section 3.

    Attributes:
        features: number of output channels.
        drop_rate: dropout rate between the convolutions (section 2.4).
        train: whether dropout is active.
    """

    features: int
    train: bool
    stride: int = 1
    drop_rate: float = 0.0
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, features]
        shortcut = x
        y = nn.relu(self.norm(name="bn1")(x))
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut = conv(
                y, self.features, 1, stride=self.stride, dtype=self.dtype, name="downsample_conv"
            )
        y = conv(y, self.features, 3, stride=self.stride, dtype=self.dtype, name="conv1")
        y = nn.relu(self.norm(name="bn2")(y))
        y = nn.Dropout(self.drop_rate, deterministic=not self.train, name="drop")(y)
        y = conv(y, self.features, 3, dtype=self.dtype, name="conv2")
        return shortcut + self.drop(name="drop_path")(y)


class WideResNet(nn.Module):
    """WRN-depth-widen, in as many dimensions as x has.

    Stages: 'layer1' (stride 1), 'layer2' (2), 'layer3' (4, normalised and rectified).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        depth: number of layers, 6n + 4 for n blocks per stage.
        widen: factor k of the widths 16, 32, 64.
        drop_rate: dropout rate inside the blocks; 0.3 on CIFAR in the paper.
        stochastic_depth_rate, dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    depth: int
    widen: int
    drop_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth={self.depth}: give 6n + 4, such as 10, 16, 22, 28 or 40.")
        blocks = (self.depth - 4) // 6
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        rates = iter(linear_rates(self.stochastic_depth_rate, 3 * blocks))
        block = nn.remat(WideBlock) if self.remat else WideBlock
        stages = {}

        x = conv(x, BASE_WIDTHS[0], 3, dtype=self.dtype, name="conv1")
        for i, width in enumerate(BASE_WIDTHS):
            for j in range(blocks):
                x = block(
                    features=width * self.widen,
                    train=train,
                    stride=2 if i > 0 and j == 0 else 1,
                    drop_rate=self.drop_rate,
                    norm=norm,
                    drop=partial(StochasticDepth, next(rates), not train),
                    dtype=self.dtype,
                    name=f"layer{i + 1}_{j}",
                )(x)
            stages[f"layer{i + 1}"] = x
        x = nn.relu(norm(name="bn")(x))
        stages["layer3"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 64 * widen]
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")
        return head(x)  # [B, K]


register(
    WideResNet,
    TABLE,
    paper="Zagoruyko and Komodakis 2016, Wide Residual Networks, arXiv:1605.07146",
    source="Tables 4 and 5 of the paper, to the digits it gives; the exact counts follow from "
    "the architecture",
    input_shape=(32, 32, 3),
    num_classes=10,
)
