"""MobileNetV2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

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


class Stage(NamedTuple):
    """A row of Table 2: expansion t, channels c, blocks n, stride s of the first block."""

    expand: int
    channels: int
    blocks: int
    stride: int


# Table 2, the bottleneck rows.
STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)

TABLE = {
    "mobilenet_v2": row(3_504_872, 0.301),
}

STEM = 32  # channels of the first convolution
LAST = 1280  # channels of the last one, which a width below 1 does not reduce


class MobileNetV2(nn.Module):
    """A 3x3 convolution at stride 2, 17 inverted residuals, a 1x1 convolution.

    Stages: 'block00' (the stem, stride 2), 'block01' (2), 'block03' (4), 'block06' (8),
    'block13' (16), 'block17' (32) are the deepest of their strides; 'block18' is the last
    convolution. The blocks between are stages too; the numbers are those of torchvision's
    `features.N`.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        width: multiplier of the channels, which are rounded to multiples of 8.
        drop_rate: dropout rate before the last layer.
        stochastic_depth_rate, dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    width: float = 1.0
    drop_rate: float = 0.2
    stochastic_depth_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        unit = partial(ConvNormAct, norm=norm, act=nn.relu6, dtype=self.dtype)
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        rates = linear_rates(self.stochastic_depth_rate, sum(stage.blocks for stage in STAGES))
        stages = {}

        x = unit(round_channels(STEM * self.width), 3, stride=2, name="stem")(x)
        stages["block00"] = x  # [B, H/2, W/2, 32]
        for stage in STAGES:
            for j in range(stage.blocks):
                i = len(stages)
                x = block(
                    features=round_channels(stage.channels * self.width),
                    expanded=x.shape[-1] * stage.expand,
                    stride=stage.stride if j == 0 else 1,
                    act=nn.relu6,
                    norm=norm,
                    drop=partial(StochasticDepth, rates[i - 1], not train),
                    dtype=self.dtype,
                    name=f"block{i:02}",
                )(x)
                stages[f"block{i:02}"] = x
        x = unit(round_channels(LAST * max(1.0, self.width)), 1, name="last_conv")(x)
        stages[f"block{len(stages):02}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 1280]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        small = nn.initializers.normal(0.01)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=small, name="classifier")
        return head(x)  # [B, K]


def torchvision_rules() -> rules.Pairs:
    """torchvision's names. It counts blocks and their layers; the projection is not one unit."""
    pairs = rules.conv_norm_act("features.0", "stem")
    expansions = [stage.expand for stage in STAGES for _ in range(stage.blocks)]
    for i, expand in enumerate(expansions, start=1):
        theirs, ours = f"features.{i}.conv", f"block{i:02}"
        layers = ["depthwise"] if expand == 1 else ["expand", "depthwise"]
        pairs += rules.sequence(theirs, ours, layers)
        pairs += [(f"{theirs}.{len(layers)}", f"{ours}/project/conv")]
        pairs += [(f"{theirs}.{len(layers) + 1}", f"{ours}/project/norm")]
    pairs += rules.conv_norm_act(f"features.{len(expansions) + 1}", "last_conv")
    return [*pairs, ("classifier.1", "classifier")]


def timm_rules() -> rules.Pairs:
    """timm's names. It counts blocks within a row of the table."""
    pairs, count = [("conv_stem", "stem/conv"), ("bn1", "stem/norm")], 0
    for i, stage in enumerate(STAGES):
        layers = (
            ("depthwise", "project") if stage.expand == 1 else ("expand", "depthwise", "project")
        )
        convs = ("conv_dw", "conv_pw") if stage.expand == 1 else ("conv_pw", "conv_dw", "conv_pwl")
        for j in range(stage.blocks):
            count += 1
            theirs, ours = f"blocks.{i}.{j}", f"block{count:02}"
            for k, (conv, layer) in enumerate(zip(convs, layers, strict=True), start=1):
                pairs += [(f"{theirs}.{conv}", f"{ours}/{layer}/conv")]
                pairs += [(f"{theirs}.bn{k}", f"{ours}/{layer}/norm")]
    pairs += [("conv_head", "last_conv/conv"), ("bn2", "last_conv/norm")]
    return [*pairs, ("classifier", "classifier")]


register(
    MobileNetV2,
    TABLE,
    paper="Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks, "
    "arXiv:1801.04381",
    source="torchvision 0.29",
    rules={"torchvision": torchvision_rules(), "timm": timm_rules()},
)
