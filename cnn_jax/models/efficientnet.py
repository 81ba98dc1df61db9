"""EfficientNet (Tan and Le 2019): one network scaled in width, depth and resolution."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from cnn_jax.layers import (
    ConvNormAct,
    InvertedResidual,
    ModuleFactory,
    StochasticDepth,
    batch_norm,
    global_mean,
    round_channels,
    variance_scaling,
)
from cnn_jax.models import rules
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array


class Stage(NamedTuple):
    """A row of the papers' tables.

    Attributes:
        kind: 'mb' (MBConv, with squeeze-and-excitation unless the network has none) or 'fused'
            (Fused-MBConv, arXiv:2104.00298 figure 2).
        expand: ratio of the depthwise convolution's channels to those of the input.
        kernel: kernel size of the depthwise (or fused) convolutions.
        stride: stride of the first block's convolution; those of the other blocks are 1.
        channels: number of output channels, before the width multiplier.
        blocks: number of blocks, before the depth multiplier.
    """

    kind: str
    expand: int
    kernel: int
    stride: int
    channels: int
    blocks: int


# Table 1, rows 2 to 8.
B0_STAGES = (
    Stage("mb", 1, 3, 1, 16, 1),
    Stage("mb", 6, 3, 2, 24, 2),
    Stage("mb", 6, 5, 2, 40, 2),
    Stage("mb", 6, 3, 2, 80, 3),
    Stage("mb", 6, 5, 1, 112, 3),
    Stage("mb", 6, 5, 2, 192, 4),
    Stage("mb", 6, 3, 1, 320, 1),
)

# Width, depth and resolution: the compound scaling of section 3.3, rounded as in the reference
# code. torchvision evaluates B2 at 288 pixels, and trains B5 to B7 with that code's BatchNorm.
TABLE = {
    "efficientnet_b0": row(5_288_548, 0.386, width=1.0, depth=1.0, drop_rate=0.2),
    "efficientnet_b1": row(
        7_794_184,
        0.687,
        width=1.0,
        depth=1.1,
        drop_rate=0.2,
        changes={"input_shape": (240, 240, 3)},
    ),
    "efficientnet_b2": row(
        9_109_994,
        1.088,
        width=1.1,
        depth=1.2,
        drop_rate=0.3,
        changes={"input_shape": (288, 288, 3)},
    ),
    "efficientnet_b3": row(
        12_233_232,
        1.827,
        width=1.2,
        depth=1.4,
        drop_rate=0.3,
        changes={"input_shape": (300, 300, 3)},
    ),
    "efficientnet_b4": row(
        19_341_616,
        4.394,
        width=1.4,
        depth=1.8,
        drop_rate=0.4,
        changes={"input_shape": (380, 380, 3)},
    ),
    "efficientnet_b5": row(
        30_389_784,
        10.266,
        width=1.6,
        depth=2.2,
        drop_rate=0.4,
        bn_momentum=0.99,
        bn_epsilon=1e-3,
        changes={"input_shape": (456, 456, 3)},
    ),
    "efficientnet_b6": row(
        43_040_704,
        19.068,
        width=1.8,
        depth=2.6,
        drop_rate=0.5,
        bn_momentum=0.99,
        bn_epsilon=1e-3,
        changes={"input_shape": (528, 528, 3)},
    ),
    "efficientnet_b7": row(
        66_347_960,
        37.746,
        width=2.0,
        depth=3.1,
        drop_rate=0.5,
        bn_momentum=0.99,
        bn_epsilon=1e-3,
        changes={"input_shape": (600, 600, 3)},
    ),
}

# Uniform in +-1/sqrt(classes), as in the reference code.
dense_init = variance_scaling(1 / 3, "fan_out", "uniform")


class FusedMBConv(nn.Module):
    """MBConv with its expansion and depthwise convolution fused into one convolution.

    The attributes are those of `cnn_jax.layers.InvertedResidual`. Without expansion there is no
    projection either: one convolution remains.
    """

    features: int
    expanded: int
    kernel: int = 3
    stride: int = 1
    padding: str | None = None
    act: Callable[[Array], Array] = nn.silu
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        unit = partial(ConvNormAct, norm=self.norm, dtype=self.dtype)
        spatial = partial(unit, kernel=self.kernel, stride=self.stride, padding=self.padding)
        if self.expanded == x.shape[-1]:
            y = spatial(self.features, act=self.act, name="fused")(x)
        else:
            y = spatial(self.expanded, act=self.act, name="fused")(x)
            y = unit(self.features, 1, act=None, name="project")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            y = x + self.drop(name="drop_path")(y)
        return y


class EfficientNet(nn.Module):
    """A 3x3 convolution at stride 2, stages of MBConv or Fused-MBConv, a 1x1 convolution.

    Stages: 'stage0' (the stem, stride 2), 'stage1' ... for the rows of the table, and one for the
    last convolution. Several have the same stride. The deepest in B0 to B7 are 'stage2' (stride 4),
    'stage3' (8), 'stage5' (16) and 'stage7' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        stages: rows of the paper's table.
        width, depth: multipliers of channels (rounded to 8) and blocks (rounded up).
        stem: channels of the first convolution, before the multiplier.
        last: channels of the last convolution; 0 for four times those of the last stage.
        fixed_ends: whether the stem's channels, and the number of blocks of the first and the last
            stage, stay unscaled (EfficientNet-Lite).
        squeeze: whether MBConv has squeeze-and-excitation, with a quarter of the block's input
            channels in the bottleneck.
        act: activation.
        padding: None for symmetric padding, as in torchvision; 'SAME' as in TensorFlow, for
            weights that were trained there.
        drop_rate: dropout rate before the last layer.
        stochastic_depth_rate: limit of the rates, which rise linearly from 0.
        bn_momentum, bn_epsilon: momentum and epsilon of BatchNorm.
        dtype, axis_name, remat: see `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    stages: Sequence[Stage] = B0_STAGES
    width: float = 1.0
    depth: float = 1.0
    stem: int = 32
    last: int = 0
    fixed_ends: bool = False
    squeeze: bool = True
    act: Callable[[Array], Array] = nn.silu
    padding: str | None = None
    drop_rate: float = 0.2
    stochastic_depth_rate: float = 0.2
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
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
        unit = partial(ConvNormAct, norm=norm, act=self.act, dtype=self.dtype)
        rows = [self._scaled(i) for i in range(len(self.stages))]
        total, built = sum(row.blocks for row in rows), 0
        outputs = {}

        stem = self.stem if self.fixed_ends else round_channels(self.stem * self.width)
        x = unit(stem, 3, stride=2, padding=self.padding, name="stem")(x)
        outputs["stage0"] = x  # [B, H/2, W/2, stem]
        for i, stage in enumerate(rows, start=1):
            for j in range(stage.blocks):
                rate = self.stochastic_depth_rate * built / total
                block = self._block(stage, x.shape[-1], stage.stride if j == 0 else 1)
                x = block(
                    norm=norm,
                    drop=partial(StochasticDepth, rate, not train),
                    dtype=self.dtype,
                    name=f"stage{i}_{j}",
                )(x)
                built += 1
            outputs[f"stage{i}"] = x
        x = unit(self.last or 4 * x.shape[-1], 1, name="last_conv")(x)
        outputs[f"stage{len(rows) + 1}"] = x
        if self.num_classes is None:
            return outputs

        x = global_mean(x)  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = partial(nn.Dense, dtype=self.dtype, kernel_init=dense_init)
        return head(self.num_classes, name="classifier")(x)  # [B, K]

    def _scaled(self, i: int) -> Stage:
        stage, is_end = self.stages[i], i in (0, len(self.stages) - 1)
        blocks = math.ceil(stage.blocks * (1 if self.fixed_ends and is_end else self.depth))
        channels = round_channels(stage.channels * self.width)
        return stage._replace(channels=channels, blocks=blocks)

    def _block(self, stage: Stage, inputs: int, stride: int) -> ModuleFactory:
        """A block for `inputs` channels, without its normalisation and name."""
        shared: dict[str, Any] = {
            "features": stage.channels,
            "expanded": round_channels(inputs * stage.expand),
            "kernel": stage.kernel,
            "stride": stride,
            "padding": self.padding,
            "act": self.act,
        }
        if stage.kind == "fused":
            return partial(nn.remat(FusedMBConv) if self.remat else FusedMBConv, **shared)
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        squeezed = max(1, inputs // 4) if self.squeeze else 0
        return partial(block, squeezed=squeezed, squeeze_act=self.act, **shared)


def torchvision_rules(stages: Sequence[Stage]) -> rules.Pairs:
    """torchvision's names. It counts a block's layers, and which there are depends on the row."""
    pairs = rules.conv_norm_act("features.0", "stem")
    for i, stage in enumerate(stages, start=1):
        if stage.kind == "fused":
            layers = ["fused"] if stage.expand == 1 else ["fused", "project"]
        else:
            layers = [] if stage.expand == 1 else ["expand"]
            layers += ["depthwise", "se", "project"]
        pairs += rules.sequence(f"features.{i}.{{j}}.block", f"stage{i}_{{j}}", layers)
    pairs += rules.conv_norm_act(f"features.{len(stages) + 1}", "last_conv")
    return [*pairs, ("classifier.1", "classifier")]


def timm_rules(stages: Sequence[Stage]) -> rules.Pairs:
    """timm's names. It names the layers, and numbers their BatchNorms in order."""
    pairs = [("conv_stem", "stem/conv"), ("bn1", "stem/norm")]
    for i, stage in enumerate(stages, start=1):
        if stage.kind == "fused":
            layers = {"conv": "fused"} if stage.expand == 1 else {"conv_exp": "fused"}
            layers |= {} if stage.expand == 1 else {"conv_pwl": "project"}
        elif stage.expand == 1:
            layers = {"conv_dw": "depthwise", "conv_pw": "project"}
        else:
            layers = {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"}
        theirs, ours = f"blocks.{i - 1}.{{j}}", f"stage{i}_{{j}}"
        for k, (conv, layer) in enumerate(layers.items(), start=1):
            pairs += [(f"{theirs}.{conv}", f"{ours}/{layer}/conv")]
            pairs += [(f"{theirs}.bn{k}", f"{ours}/{layer}/norm")]
        pairs += [(f"{theirs}.se.conv_reduce", f"{ours}/se/fc1")]
        pairs += [(f"{theirs}.se.conv_expand", f"{ours}/se/fc2")]
    pairs += [("conv_head", "last_conv/conv"), ("bn2", "last_conv/norm")]
    return [*pairs, ("classifier", "classifier")]


register(
    EfficientNet,
    TABLE,
    paper="Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural "
    "Networks, arXiv:1905.11946",
    source="torchvision 0.29",
    rules={"torchvision": torchvision_rules(B0_STAGES), "timm": timm_rules(B0_STAGES)},
)
