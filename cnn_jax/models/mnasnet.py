"""MnasNet-B1: the result of an architecture search for low latency on a phone."""

from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import (
    ConvNormAct,
    InvertedResidual,
    batch_norm,
    global_mean,
    round_channels,
    variance_scaling,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.torch import Rules

TABLE = {
    # arXiv:1807.11626, section 5.2: depth multipliers of B1, the variant without SE.
    "mnasnet0_5": row(2_218_512, 0.104, width=0.5),
    "mnasnet0_75": row(3_170_208, 0.215, width=0.75),
    "mnasnet1_0": row(4_383_312, 0.314, width=1.0),
    "mnasnet1_3": row(6_282_256, 0.526, width=1.3),
}

STEM_WIDTH, FIRST_WIDTH, LAST_WIDTH = 32, 16, 1280
STACKS = (  # figure 7 a: channels, kernel, stride, expansion, repeats
    (24, 3, 2, 3, 3),
    (40, 5, 2, 3, 3),
    (80, 5, 2, 6, 3),
    (96, 3, 1, 6, 2),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)
MOMENTUM = 0.9997  # of the running statistics, TensorFlow's value in the reference training


class MNASNet(nn.Module):
    """A separable stem, six stacks of inverted residuals, a 1x1 convolution.

    Stages: 'stack0' (stride 2), 'stack1' (4), 'stack2' (8), 'stack3' (16), 'stack4' (16),
    'stack5' (32), 'stack6' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        width: multiplier of the channels, which are rounded to multiples of 8.
        drop_rate: dropout rate before the last layer.
        bn_momentum: momentum of the running statistics of BatchNorm.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the blocks in the backward pass.
    """

    num_classes: int | None
    width: float
    drop_rate: float = 0.2
    bn_momentum: float = MOMENTUM
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(
            train, momentum=self.bn_momentum, dtype=self.dtype, axis_name=self.axis_name
        )
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        layer = partial(ConvNormAct, norm=norm, dtype=self.dtype)
        stem = round_channels(STEM_WIDTH * self.width)
        first = round_channels(FIRST_WIDTH * self.width)
        stages = {}
        x = layer(stem, 3, stride=2, name="stem")(x)
        x = layer(stem, 3, groups=stem, name="separable_depthwise")(x)
        x = stages["stack0"] = layer(first, 1, act=None, name="separable_project")(x)
        for i, (features, kernel, stride, expansion, repeats) in enumerate(STACKS, start=1):
            for j in range(repeats):
                x = block(
                    features=round_channels(features * self.width),
                    expanded=x.shape[-1] * expansion,
                    kernel=kernel,
                    stride=stride if j == 0 else 1,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"stack{i}_{j}",
                )(x)
            stages[f"stack{i}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(layer(LAST_WIDTH, 1, name="last")(x))  # [B, 1280]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        init = variance_scaling(1 / 3, "fan_out", "uniform")
        return nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=init, name="classifier")(x)


def _torchvision_rules() -> Rules:
    """torchvision's names. It counts the layers, ReLU included, outside and inside the blocks."""
    units = [("layers.0", "layers.1", "stem")]
    units += [("layers.3", "layers.4", "separable_depthwise")]
    units += [("layers.6", "layers.7", "separable_project")]
    for i in range(1, 1 + len(STACKS)):
        block = f"layers.{7 + i}.{{j}}.layers"
        units += [
            (f"{block}.0", f"{block}.1", f"stack{i}_{{j}}/expand"),
            (f"{block}.3", f"{block}.4", f"stack{i}_{{j}}/depthwise"),
            (f"{block}.6", f"{block}.7", f"stack{i}_{{j}}/project"),
        ]
    units += [("layers.14", "layers.15", "last")]
    return (
        *((conv, f"{unit}/conv") for conv, _, unit in units),
        *((norm, f"{unit}/norm") for _, norm, unit in units),
        ("classifier.1", "classifier"),
    )


def _timm_rules() -> Rules:
    """timm's names. Row 0 is the separable convolution; BatchNorms are numbered within a block."""
    units = [("conv_stem", "bn1", "stem")]
    units += [("blocks.0.0.conv_dw", "blocks.0.0.bn1", "separable_depthwise")]
    units += [("blocks.0.0.conv_pw", "blocks.0.0.bn2", "separable_project")]
    for i in range(1, 1 + len(STACKS)):
        block = f"blocks.{i}.{{j}}"
        units += [
            (f"{block}.conv_pw", f"{block}.bn1", f"stack{i}_{{j}}/expand"),
            (f"{block}.conv_dw", f"{block}.bn2", f"stack{i}_{{j}}/depthwise"),
            (f"{block}.conv_pwl", f"{block}.bn3", f"stack{i}_{{j}}/project"),
        ]
    units += [("conv_head", "bn2", "last")]
    return (
        *((conv, f"{unit}/conv") for conv, _, unit in units),
        *((norm, f"{unit}/norm") for _, norm, unit in units),
        ("classifier", "classifier"),
    )


register(
    MNASNet,
    TABLE,
    paper="Tan et al. 2018, MnasNet: Platform-Aware Neural Architecture Search for Mobile, "
    "arXiv:1807.11626",
    source="torchvision 0.29",
    rules={"torchvision": _torchvision_rules(), "timm": _timm_rules()},
)
