"""Residual networks for ImageNet: ResNet v1 and v1.5, ResNeXt, and Wide ResNet."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn

from cnn_jax.layers import (
    ModuleFactory,
    SqueezeExcite,
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


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (arXiv:1512.03385, figure 5 left).

    Attributes:
        planes: width; the block returns planes * expansion channels.
        stride: stride of the first 3x3 convolution.
        first_dilation, dilation: dilations of the first and of the second 3x3 convolution.
        groups, width_per_group, stride_on_1x1: fields for `Bottleneck`; here 1, 64, False.
        squeeze_ratio: above 0, adds squeeze-and-excitation with planes * expansion / squeeze_ratio
            channels in its bottleneck.
        norm: factory of the normalisation, norm(name='bn1').
        drop: factory of the stochastic depth of the residual branch.
    """

    expansion: ClassVar[int] = 1

    planes: int
    stride: int = 1
    first_dilation: int = 1
    dilation: int = 1
    groups: int = 1
    width_per_group: int = 64
    stride_on_1x1: bool = False
    squeeze_ratio: int = 0
    zero_init_residual: bool = True
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, planes]
        if self.groups != 1 or self.width_per_group != 64 or self.stride_on_1x1:
            raise ValueError(
                f"BasicBlock got groups={self.groups}, width_per_group={self.width_per_group} and "
                f"stride_on_1x1={self.stride_on_1x1}: these need block=Bottleneck."
            )
        conv3x3 = partial(conv, features=self.planes, kernel=3, dtype=self.dtype)
        y = conv3x3(x, stride=self.stride, dilation=self.first_dilation, name="conv1")
        y = nn.relu(self.norm(name="bn1")(y))
        y = conv3x3(y, dilation=self.dilation, name="conv2")
        y = self.norm(name="bn2", scale_init=last_scale(self.zero_init_residual))(y)
        return residual_sum(self, x, y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (arXiv:1512.03385, figure 5 right).

    Attributes:
        planes: width; the block returns planes * 4 channels.
        stride: stride of the 3x3 convolution (v1.5), or of the first 1x1 if `stride_on_1x1` (v1).
        first_dilation: dilation of the 3x3 convolution; `dilation` is for `BasicBlock`.
        groups: number of groups of the 3x3 convolution (ResNeXt, arXiv:1611.05431).
        width_per_group: channels per group in the first stage, where planes = 64.
        squeeze_ratio, zero_init_residual, norm, drop: see `BasicBlock`.
    """

    expansion: ClassVar[int] = 4

    planes: int
    stride: int = 1
    first_dilation: int = 1
    dilation: int = 1
    groups: int = 1
    width_per_group: int = 64
    stride_on_1x1: bool = False
    squeeze_ratio: int = 0
    zero_init_residual: bool = True
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, 4 planes]
        width = self.planes * self.width_per_group // 64 * self.groups
        first, second = (self.stride, 1) if self.stride_on_1x1 else (1, self.stride)
        y = conv(x, width, 1, stride=first, dtype=self.dtype, name="conv1")
        y = nn.relu(self.norm(name="bn1")(y))
        y = conv(
            y,
            width,
            3,
            stride=second,
            dilation=self.first_dilation,
            groups=self.groups,
            dtype=self.dtype,
            name="conv2",
        )
        y = nn.relu(self.norm(name="bn2")(y))
        y = conv(y, self.planes * self.expansion, 1, dtype=self.dtype, name="conv3")
        y = self.norm(name="bn3", scale_init=last_scale(self.zero_init_residual))(y)
        return residual_sum(self, x, y)


def last_scale(zero: bool) -> Any:
    """The initialiser of the last BatchNorm scale of a residual branch.

    Zero makes every block start as the identity (Goyal et al. 2017, arXiv:1706.02677, 5.1).
    """
    return nn.initializers.zeros if zero else nn.initializers.ones


def residual_sum(block: BasicBlock | Bottleneck, x: Array, y: Array) -> Array:
    """relu(shortcut(x) + y); a 1x1 projection where the shapes differ (option B, section 3.3)."""
    features = y.shape[-1]
    if block.squeeze_ratio:
        squeeze = SqueezeExcite(features // block.squeeze_ratio, dtype=block.dtype, name="se")
        y = squeeze(y)
    if block.stride != 1 or x.shape[-1] != features:
        x = conv(x, features, 1, stride=block.stride, dtype=block.dtype, name="downsample_conv")
        x = block.norm(name="downsample_bn")(x)
    return nn.relu(x + block.drop(name="drop_path")(y))


TABLE = {
    # arXiv:1512.03385, Table 1, with the stride on the 3x3 convolution ("v1.5") as in torchvision.
    "resnet18": row(11_689_512, 1.814, block=BasicBlock, stage_sizes=(2, 2, 2, 2)),
    "resnet34": row(21_797_672, 3.664, block=BasicBlock, stage_sizes=(3, 4, 6, 3)),
    "resnet50": row(25_557_032, 4.089, stage_sizes=(3, 4, 6, 3)),
    "resnet101": row(44_549_160, 7.801, stage_sizes=(3, 4, 23, 3)),
    "resnet152": row(60_192_808, 11.514, stage_sizes=(3, 8, 36, 3)),
    # As published, with the stride on the first 1x1; the paper counts 3.8, 7.6 and 11.3 10^9.
    "resnet50_v1": row(25_557_032, 3.8, stage_sizes=(3, 4, 6, 3), stride_on_1x1=True),
    "resnet101_v1": row(44_549_160, 7.6, stage_sizes=(3, 4, 23, 3), stride_on_1x1=True),
    "resnet152_v1": row(60_192_808, 11.3, stage_sizes=(3, 8, 36, 3), stride_on_1x1=True),
    # ResNeXt, arXiv:1611.05431: number of groups x width of a group.
    "resnext50_32x4d": row(
        25_028_904, 4.230, stage_sizes=(3, 4, 6, 3), groups=32, width_per_group=4
    ),
    "resnext101_32x8d": row(
        88_791_336, 16.414, stage_sizes=(3, 4, 23, 3), groups=32, width_per_group=8
    ),
    "resnext101_64x4d": row(
        83_455_272, 15.460, stage_sizes=(3, 4, 23, 3), groups=64, width_per_group=4
    ),
    # Wide ResNet, arXiv:1605.07146 section 3: bottlenecks twice as wide.
    "wide_resnet50_2": row(68_883_240, 11.398, stage_sizes=(3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": row(126_886_696, 22.753, stage_sizes=(3, 4, 23, 3), width_per_group=128),
}

PLANES = (64, 128, 256, 512)


class ResNet(nn.Module):
    """A residual network of four stages, in as many dimensions as x has.

    Stages: 'conv1' (stride 2, or 1 with stem='small'), 'layer1' (4), 'layer2' (8), 'layer3' (16),
    'layer4' (32, or `output_stride`).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        stage_sizes: number of blocks in each stage.
        block: BasicBlock or Bottleneck.
        groups, width_per_group, stride_on_1x1, squeeze_ratio: see `Bottleneck`.
        stem: 'imagenet', a 7x7 convolution at stride 2 and a max pool at stride 2; or 'small',
            a 3x3 convolution at stride 1, for images of about 32 pixels.
        output_stride: 32, 16 or 8. Stages with a larger stride are dilated instead
            (arXiv:1706.05587). The first block of such a stage has the dilation of the stage
            before, as in torchvision's replace_stride_with_dilation.
        zero_init_residual: whether every block starts as the identity.
        stochastic_depth_rate: rate of the last block; the rates rise linearly from 0.
        drop_rate: dropout rate before the last layer.
        dtype: type of the computation; parameters and statistics are float32.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the blocks in the backward pass instead of keeping their
            activations.
    """

    num_classes: int | None
    stage_sizes: Sequence[int]
    block: type[BasicBlock] | type[Bottleneck] = Bottleneck
    groups: int = 1
    width_per_group: int = 64
    stride_on_1x1: bool = False
    squeeze_ratio: int = 0
    stem: str = "imagenet"
    output_stride: int = 32
    zero_init_residual: bool = True
    stochastic_depth_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        rates = iter(linear_rates(self.stochastic_depth_rate, sum(self.stage_sizes)))
        block = nn.remat(self.block) if self.remat else self.block
        stages = {}

        x, reached = self._stem(x, norm)
        stages["conv1"] = x
        if self.stem == "imagenet":
            x = max_pool(x, 3, stride=2, padding=1)
            reached *= 2
        dilation = 1
        for i, (planes, blocks) in enumerate(zip(PLANES, self.stage_sizes, strict=False), start=1):
            stride, last_dilation = (1 if i == 1 else 2), dilation
            if reached * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            for j in range(blocks):
                x = block(
                    planes=planes,
                    stride=stride if j == 0 else 1,
                    first_dilation=last_dilation if j == 0 else dilation,
                    dilation=dilation,
                    groups=self.groups,
                    width_per_group=self.width_per_group,
                    stride_on_1x1=self.stride_on_1x1,
                    squeeze_ratio=self.squeeze_ratio,
                    zero_init_residual=self.zero_init_residual,
                    norm=norm,
                    drop=partial(StochasticDepth, next(rates), not train),
                    dtype=self.dtype,
                    name=f"layer{i}_{j}",
                )(x)
            stages[f"layer{i}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")
        return head(x)  # [B, K]

    def _stem(self, x: Array, norm: ModuleFactory) -> tuple[Array, int]:
        if self.stem not in ("imagenet", "small"):
            raise ValueError(f"stem={self.stem!r}: give 'imagenet' or 'small'.")
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = conv(x, 64, kernel, stride=stride, dtype=self.dtype, name="conv1")
        return nn.relu(norm(name="bn1")(x)), stride


TORCHVISION_RULES = (
    ("conv1", "conv1"),
    ("bn1", "bn1"),
    ("layer{i}.{j}.conv{k}", "layer{i}_{j}/conv{k}"),
    ("layer{i}.{j}.bn{k}", "layer{i}_{j}/bn{k}"),
    ("layer{i}.{j}.downsample.0", "layer{i}_{j}/downsample_conv"),
    ("layer{i}.{j}.downsample.1", "layer{i}_{j}/downsample_bn"),
    ("fc", "fc"),
)

# timm has the same names, and squeeze-and-excitation (seresnet50).
TIMM_RULES = (*TORCHVISION_RULES, ("layer{i}.{j}.se.fc{k}", "layer{i}_{j}/se/fc{k}"))

register(
    ResNet,
    TABLE,
    paper="He et al. 2015, Deep Residual Learning for Image Recognition, arXiv:1512.03385",
    source="torchvision 0.29 (v1: arXiv:1512.03385, Table 1)",
    rules={"torchvision": TORCHVISION_RULES, "timm": TIMM_RULES},
)
