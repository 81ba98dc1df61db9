"""Residual networks with pre-activation: ResNet v2 (He et al. 2016)."""

from collections.abc import Sequence
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
    max_pool,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.layouts import POINTWISE_CONV
from cnn_jax.weights.torch import Rules

IMAGENET: dict[str, Any] = {"widths": (64, 128, 256, 512), "stem": "imagenet", "stem_width": 64}
CIFAR: dict[str, Any] = {"widths": (16, 32, 64), "stem": "small", "stem_width": 16}
FOR_CIFAR = {
    "input_shape": (32, 32, 3),
    "num_classes": 10,
    "source": "follows from the architecture; arXiv:1605.07146, Table 5: 1.7, 1.7, 10.2 million",
}

TABLE = {
    # Section 5 and arXiv:1512.03385, Table 1. Counts of timm 1.0's resnetv2_{18,34,50,101,152}.
    "resnet18_v2": row(11_687_720, stage_sizes=(2, 2, 2, 2), bottleneck=False, **IMAGENET),
    "resnet34_v2": row(21_795_880, stage_sizes=(3, 4, 6, 3), bottleneck=False, **IMAGENET),
    "resnet50_v2": row(25_549_352, stage_sizes=(3, 4, 6, 3), **IMAGENET),
    "resnet101_v2": row(44_541_480, stage_sizes=(3, 4, 23, 3), **IMAGENET),
    "resnet152_v2": row(60_185_128, stage_sizes=(3, 8, 36, 3), **IMAGENET),
    "resnet200_v2": row(64_666_152, stage_sizes=(3, 24, 36, 3), **IMAGENET),
    # Section 4, on CIFAR. Here all blocks that change the shape have a 1x1 convolution.
    "resnet110_v2": row(
        1_730_522, changes=FOR_CIFAR, stage_sizes=(18, 18, 18), bottleneck=False, **CIFAR
    ),
    "resnet164_v2": row(1_703_258, changes=FOR_CIFAR, stage_sizes=(18, 18, 18), **CIFAR),
    "resnet1001_v2": row(10_327_706, changes=FOR_CIFAR, stage_sizes=(111, 111, 111), **CIFAR),
}

EXPANSION = 4


class PreActBlock(nn.Module):
    """BN, ReLU, convolution, two or three times, without activation after the sum (figure 4e).

    The shortcut of a block that changes the shape starts after its first BN and ReLU.

    Attributes:
        width: channels of the 3x3 convolutions; a bottleneck returns four times as many.
        stride: stride of the (first) 3x3 convolution.
    """

    width: int
    stride: int = 1
    bottleneck: bool = True
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        features = self.width * (EXPANSION if self.bottleneck else 1)
        layers: tuple[tuple[int, int, int], ...]  # width, kernel, stride
        if self.bottleneck:
            layers = ((self.width, 1, 1), (self.width, 3, self.stride), (features, 1, 1))
        else:
            layers = ((self.width, 3, self.stride), (self.width, 3, 1))
        shortcut, y = x, x
        for i, (width, kernel, stride) in enumerate(layers, start=1):
            y = nn.relu(self.norm(name=f"bn{i}")(y))
            if i == 1 and (self.stride != 1 or x.shape[-1] != features):
                shortcut = conv(
                    y, features, 1, stride=self.stride, dtype=self.dtype, name="downsample_conv"
                )
            y = conv(y, width, kernel, stride=stride, dtype=self.dtype, name=f"conv{i}")
        return shortcut + self.drop(name="drop_path")(y)


class PreActResNet(nn.Module):
    """A pre-activation residual network, in as many dimensions as x has.

    Stages: 'conv1', 'layer1', 'layer2', ... The last one is normalised and rectified; those before
    it are residual sums.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        stage_sizes: number of blocks in each stage.
        widths: channels of the 3x3 convolutions in each stage.
        bottleneck: whether blocks have three convolutions instead of two.
        stem: 'imagenet' (7x7 at stride 2, max pool at stride 2) or 'small' (3x3 at stride 1).
        stem_width: channels of the stem.
        stochastic_depth_rate, drop_rate, dtype, axis_name, remat: see
            `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    stage_sizes: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512)
    bottleneck: bool = True
    stem: str = "imagenet"
    stem_width: int = 64
    stochastic_depth_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        if self.stem not in ("imagenet", "small"):
            raise ValueError(f"stem={self.stem!r}: give 'imagenet' or 'small'.")
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        rates = iter(linear_rates(self.stochastic_depth_rate, sum(self.stage_sizes)))
        block = nn.remat(PreActBlock) if self.remat else PreActBlock
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)

        x = conv(x, self.stem_width, kernel, stride=stride, dtype=self.dtype, name="conv1")
        stages = {"conv1": x}
        if self.stem == "imagenet":
            x = max_pool(x, 3, stride=2, padding=1)
        for i, (width, blocks) in enumerate(zip(self.widths, self.stage_sizes, strict=True)):
            for j in range(blocks):
                x = block(
                    width=width,
                    stride=2 if i > 0 and j == 0 else 1,
                    bottleneck=self.bottleneck,
                    norm=norm,
                    drop=partial(StochasticDepth, next(rates), not train),
                    dtype=self.dtype,
                    name=f"layer{i + 1}_{j}",
                )(x)
            stages[f"layer{i + 1}"] = x
        x = nn.relu(norm(name="bn")(x))
        stages[f"layer{len(self.widths)}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")
        return head(x)  # [B, K]


# timm calls them resnetv2_18, resnetv2_50 and so on, and counts stages from 0.
TIMM_RULES: Rules = (
    ("stem.conv", "conv1"),
    *(
        rule
        for stage in range(4)
        for rule in (
            (f"stages.{stage}.blocks.{{j}}.norm{{k}}", f"layer{stage + 1}_{{j}}/bn{{k}}"),
            (f"stages.{stage}.blocks.{{j}}.conv{{k}}", f"layer{stage + 1}_{{j}}/conv{{k}}"),
            (
                f"stages.{stage}.blocks.{{j}}.downsample.conv",
                f"layer{stage + 1}_{{j}}/downsample_conv",
            ),
        )
    ),
    ("norm", "bn"),
    ("head.fc", "fc", POINTWISE_CONV),
)

register(
    PreActResNet,
    TABLE,
    paper="He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027",
    source="timm 1.0",
    rules={"timm": TIMM_RULES},
)
