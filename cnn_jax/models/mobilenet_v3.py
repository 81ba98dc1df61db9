"""MobileNetV3 (Howard et al. 2019): a searched network with squeeze-and-excitation, hard swish."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from cnn_jax.layers import (
    ConvNormAct,
    InvertedResidual,
    StochasticDepth,
    batch_norm,
    global_mean,
    linear_rates,
    round_channels,
)
from cnn_jax.models import rules
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array


class Block(NamedTuple):
    """A row of Table 1 or 2: kernel, expansion size, output channels, SE, non-linearity, stride."""

    kernel: int
    expanded: int
    channels: int
    squeeze: bool
    act: str  # 'RE' for ReLU, 'HS' for hard swish
    stride: int


# Table 1.
LARGE = (
    Block(3, 16, 16, False, "RE", 1),
    Block(3, 64, 24, False, "RE", 2),
    Block(3, 72, 24, False, "RE", 1),
    Block(5, 72, 40, True, "RE", 2),
    Block(5, 120, 40, True, "RE", 1),
    Block(5, 120, 40, True, "RE", 1),
    Block(3, 240, 80, False, "HS", 2),
    Block(3, 200, 80, False, "HS", 1),
    Block(3, 184, 80, False, "HS", 1),
    Block(3, 184, 80, False, "HS", 1),
    Block(3, 480, 112, True, "HS", 1),
    Block(3, 672, 112, True, "HS", 1),
    Block(5, 672, 160, True, "HS", 2),
    Block(5, 960, 160, True, "HS", 1),
    Block(5, 960, 160, True, "HS", 1),
)

# Table 2.
SMALL = (
    Block(3, 16, 16, True, "RE", 2),
    Block(3, 72, 24, False, "RE", 2),
    Block(3, 88, 24, False, "RE", 1),
    Block(5, 96, 40, True, "HS", 2),
    Block(5, 240, 40, True, "HS", 1),
    Block(5, 240, 40, True, "HS", 1),
    Block(5, 120, 48, True, "HS", 1),
    Block(5, 144, 48, True, "HS", 1),
    Block(5, 288, 96, True, "HS", 2),
    Block(5, 576, 96, True, "HS", 1),
    Block(5, 576, 96, True, "HS", 1),
)


def torchvision_rules(blocks: Sequence[Block]) -> rules.Pairs:
    """torchvision's names. It counts a block's layers, and which there are depends on the row."""
    pairs, channels = rules.conv_norm_act("features.0", "stem"), 16
    for i, block in enumerate(blocks, start=1):
        layers = ["expand"] * (block.expanded != channels) + ["depthwise"]
        layers += ["se"] * block.squeeze + ["project"]
        pairs += rules.sequence(f"features.{i}.block", f"block{i:02}", layers)
        channels = block.channels
    pairs += rules.conv_norm_act(f"features.{len(blocks) + 1}", "last_conv")
    return [*pairs, ("classifier.0", "fc1"), ("classifier.3", "fc2")]


TABLE = {
    "mobilenet_v3_large": row(
        5_483_032,
        0.217,
        blocks=LARGE,
        hidden=1280,
        changes={"rules": {"torchvision": torchvision_rules(LARGE)}},
    ),
    "mobilenet_v3_small": row(
        2_542_856,
        0.057,
        blocks=SMALL,
        hidden=1024,
        changes={"rules": {"torchvision": torchvision_rules(SMALL)}},
    ),
}

STEM = 16  # channels of the first convolution
ACTIVATIONS = {"RE": nn.relu, "HS": nn.hard_swish}


class MobileNetV3(nn.Module):
    """A 3x3 convolution at stride 2, inverted residuals, a 1x1 convolution, two dense layers.

    Stages: 'block00' (the stem), 'block01' ..., and one more for the last convolution, numbered as
    torchvision's `features.N`. Those of mobilenet_v3_large include 'block01' (stride 2), 'block03'
    (4), 'block06' (8), 'block12' (16) and 'block16' (32); torchvision's segmentation heads use
    'block04' (8) and 'block16'.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        blocks: rows of the paper's table.
        hidden: width of the dense layer before the last one.
        width: multiplier of the channels, which are rounded to multiples of 8.
        output_stride: 32, 16 or 8. Blocks with a larger stride are dilated instead, the first of
            them included, unlike in ResNet (torchvision's `dilated=True` is 16).
        bn_momentum, bn_epsilon: of BatchNorm; 0.99 and 0.001 in the reference code of section 6.1.
        drop_rate: dropout rate before the last layer.
        stochastic_depth_rate, dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    blocks: Sequence[Block]
    hidden: int
    width: float = 1.0
    output_stride: int = 32
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    drop_rate: float = 0.2
    stochastic_depth_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(
            train,
            momentum=self.bn_momentum,
            epsilon=self.bn_epsilon,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(ConvNormAct, norm=norm, act=nn.hard_swish, dtype=self.dtype)
        residual = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        rates = linear_rates(self.stochastic_depth_rate, len(self.blocks))
        stages = {}

        x = unit(round_channels(STEM * self.width), 3, stride=2, name="stem")(x)
        stages["block00"] = x  # [B, H/2, W/2, 16]
        reached, dilation = 2, 1
        for i, block in enumerate(self.blocks, start=1):
            stride, expanded = block.stride, round_channels(block.expanded * self.width)
            if reached * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            x = residual(
                features=round_channels(block.channels * self.width),
                expanded=expanded,
                kernel=block.kernel,
                stride=stride,
                dilation=dilation,
                squeezed=round_channels(expanded // 4) if block.squeeze else 0,
                act=ACTIVATIONS[block.act],
                gate=nn.hard_sigmoid,
                shortcut=block.stride == 1,
                norm=norm,
                drop=partial(StochasticDepth, rates[i - 1], not train),
                dtype=self.dtype,
                name=f"block{i:02}",
            )(x)
            stages[f"block{i:02}"] = x
        x = unit(6 * x.shape[-1], 1, name="last_conv")(x)
        stages[f"block{len(stages):02}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 960]
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01))
        x = nn.hard_swish(dense(round_channels(self.hidden * self.width), name="fc1")(x))
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        return dense(self.num_classes, name="fc2")(x)  # [B, K]


register(
    MobileNetV3,
    TABLE,
    paper="Howard et al. 2019, Searching for MobileNetV3, arXiv:1905.02244",
    source="torchvision 0.29",
)
