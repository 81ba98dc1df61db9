"""ResNet-9, the network of the DAWNBench CIFAR-10 records (Page 2018)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from cnn_jax.layers import (
    ConvNormAct,
    ModuleFactory,
    batch_norm,
    lecun_uniform,
    max_pool,
    require_size,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # "How to train your ResNet", part 4: 64, 128, 256, 512 channels, 6.6 million parameters.
    "resnet9": row(6_573_120),
}


MIN_SIZE = 8  # three 2x2 pools


class ResidualPair(nn.Module):
    """x + two 3x3 convolutions, each normalised and rectified."""

    features: int
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = ConvNormAct(self.features, norm=self.norm, dtype=self.dtype, name="res1")(x)
        return x + ConvNormAct(self.features, norm=self.norm, dtype=self.dtype, name="res2")(y)


class ResNet9(nn.Module):
    """A convolution, three stages of convolution and 2x2 max pool, two of them with a residual.

    Stages: 'layer0' (stride 1), 'layer1' (2), 'layer2' (4), 'layer3' (8). The global pool takes
    the maximum, over 4x4 positions for images of 32 pixels.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        widths: channels of the stages.
        logit_scale: factor of the logits, so that the last layer can start with larger weights.
        drop_rate: dropout rate before the last layer.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.

    Raises:
        ValueError: if a side is shorter than 8 pixels.
    """

    num_classes: int | None
    widths: Sequence[int] = (64, 128, 256, 512)
    logit_scale: float = 0.125
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "resnet9")
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        pair = nn.remat(ResidualPair) if self.remat else ResidualPair
        stages = {}

        x = ConvNormAct(self.widths[0], norm=norm, dtype=self.dtype, name="prep")(x)
        stages["layer0"] = x
        for i, width in enumerate(self.widths[1:], start=1):
            x = ConvNormAct(width, norm=norm, dtype=self.dtype, name=f"layer{i}")(x)
            x = max_pool(x, 2, stride=2)
            if i != 2:
                x = pair(width, norm=norm, dtype=self.dtype, name=f"layer{i}_residual")(x)
            stages[f"layer{i}"] = x
        if self.num_classes is None:
            return stages

        x = x.max(tuple(range(1, x.ndim - 1)))  # [B, 512]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(
            self.num_classes,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=lecun_uniform,
            name="linear",
        )
        return self.logit_scale * head(x)  # [B, K]


register(
    ResNet9,
    TABLE,
    paper="Page 2018, How to Train Your ResNet, part 4, myrtle.ai",
    source="the layers as published there, counted by hand",
    input_shape=(32, 32, 3),
    num_classes=10,
    min_size=MIN_SIZE,
)
