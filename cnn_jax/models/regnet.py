"""RegNet (Radosavovic et al. 2020): networks whose widths lie on a quantised line."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from cnn_jax.layers import (
    ConvNormAct,
    ModuleFactory,
    SqueezeExcite,
    StochasticDepth,
    batch_norm,
    global_mean,
    linear_rates,
)
from cnn_jax.models import rules
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

# Depth d, initial width w_0, slope w_a, quantisation w_m, width of a group g, squeeze ratio:
# the paper's model zoo (github.com/facebookresearch/pycls), figures 16 and 17.
TABLE = {
    "regnet_x_400mf": row(5_495_976, 0.414, depth=22, w_0=24, w_a=24.48, w_m=2.54, group=16),
    "regnet_x_800mf": row(7_259_656, 0.800, depth=16, w_0=56, w_a=35.73, w_m=2.28, group=16),
    "regnet_x_1_6gf": row(9_190_136, 1.603, depth=18, w_0=80, w_a=34.01, w_m=2.25, group=24),
    "regnet_x_3_2gf": row(15_296_552, 3.177, depth=25, w_0=88, w_a=26.31, w_m=2.25, group=48),
    "regnet_x_8gf": row(39_572_648, 7.995, depth=23, w_0=80, w_a=49.56, w_m=2.88, group=120),
    "regnet_x_16gf": row(54_278_536, 15.941, depth=22, w_0=216, w_a=55.59, w_m=2.1, group=128),
    "regnet_x_32gf": row(107_811_560, 31.736, depth=23, w_0=320, w_a=69.86, w_m=2.0, group=168),
    # RegNetY is RegNetX with squeeze-and-excitation, section 5.
    "regnet_y_400mf": row(
        4_344_144, 0.402, depth=16, w_0=48, w_a=27.89, w_m=2.09, group=8, squeeze=0.25
    ),
    "regnet_y_800mf": row(
        6_432_512, 0.834, depth=14, w_0=56, w_a=38.84, w_m=2.4, group=16, squeeze=0.25
    ),
    "regnet_y_1_6gf": row(
        11_202_430, 1.612, depth=27, w_0=48, w_a=20.71, w_m=2.65, group=24, squeeze=0.25
    ),
    "regnet_y_3_2gf": row(
        19_436_338, 3.176, depth=21, w_0=80, w_a=42.63, w_m=2.66, group=24, squeeze=0.25
    ),
    "regnet_y_8gf": row(
        39_381_472, 8.473, depth=17, w_0=192, w_a=76.82, w_m=2.19, group=56, squeeze=0.25
    ),
    "regnet_y_16gf": row(
        83_590_140, 15.912, depth=18, w_0=200, w_a=106.23, w_m=2.48, group=112, squeeze=0.25
    ),
    "regnet_y_32gf": row(
        145_046_770, 32.280, depth=20, w_0=232, w_a=115.89, w_m=2.53, group=232, squeeze=0.25
    ),
    # arXiv:2202.08360; torchvision's figures are for 384 pixels.
    "regnet_y_128gf": row(
        644_812_894,
        374.57,
        depth=27,
        w_0=456,
        w_a=160.83,
        w_m=2.52,
        group=264,
        squeeze=0.25,
        changes={"input_shape": (384, 384, 3)},
    ),
}

STEM = 32  # channels of the first convolution


class Stage(NamedTuple):
    blocks: int
    width: int
    group: int  # channels per group


def stages_of(depth: int, w_0: int, w_a: float, w_m: float, group: int) -> list[Stage]:
    """The stages that the parameters describe, section 3.3, equations 2 to 4.

    The width of block j is w_0 + w_a j, quantised to w_0 w_m^s for a whole number s and to
    multiples of 8. Blocks of the same width form a stage. Its width is then rounded to a multiple
    of the group width; a stage narrower than a group has one group.
    """
    exponents = np.round(np.log(1 + w_a / w_0 * np.arange(depth)) / np.log(w_m))
    widths = (np.round(w_0 * w_m**exponents / 8) * 8).astype(int)
    stages = []
    for width in np.unique(widths):
        channels = min(group, int(width))
        fitting = max(channels, int(width + channels / 2) // channels * channels)
        if fitting < 0.9 * width:
            fitting += channels
        stages.append(Stage(int((widths == width).sum()), fitting, channels))
    return stages


class RegNetBlock(nn.Module):
    """ResNeXt's block without the bottleneck: 1x1, grouped 3x3, 1x1 of the same width (figure 4).

    Attributes:
        features: width of the block.
        group: channels per group.
        squeezed: channels in the bottleneck of the squeeze-and-excitation; 0 for none.
    """

    features: int
    group: int
    stride: int = 1
    squeezed: int = 0
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, features]
        unit = partial(ConvNormAct, self.features, norm=self.norm, dtype=self.dtype)
        y = unit(1, name="a")(x)
        y = unit(3, stride=self.stride, groups=self.features // self.group, name="b")(y)
        if self.squeezed:
            y = SqueezeExcite(self.squeezed, dtype=self.dtype, name="se")(y)
        y = unit(1, act=None, name="c")(y)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = unit(1, stride=self.stride, act=None, name="proj")(x)
        return nn.relu(x + self.drop(name="drop_path")(y))


class RegNet(nn.Module):
    """A 3x3 convolution at stride 2, and stages that each halve the resolution.

    Stages: 'stage0' (the stem, stride 2), 'stage1' (4), 'stage2' (8), 'stage3' (16), 'stage4' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        depth, w_0, w_a, w_m, group: see `stages_of`.
        squeeze: channels in the bottleneck of the squeeze-and-excitation, as a fraction of the
            block's input channels; 0 for none.
        stochastic_depth_rate, drop_rate, dtype, axis_name, remat: see
            `cnn_jax.models.resnet.ResNet`.
    """

    num_classes: int | None
    depth: int
    w_0: int
    w_a: float
    w_m: float
    group: int
    squeeze: float = 0.0
    stochastic_depth_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        rates = iter(linear_rates(self.stochastic_depth_rate, self.depth))
        block = nn.remat(RegNetBlock) if self.remat else RegNetBlock
        outputs = {}

        x = ConvNormAct(STEM, 3, stride=2, norm=norm, dtype=self.dtype, name="stem")(x)
        outputs["stage0"] = x  # [B, H/2, W/2, 32]
        stages = stages_of(self.depth, self.w_0, self.w_a, self.w_m, self.group)
        for i, stage in enumerate(stages, start=1):
            for j in range(stage.blocks):
                x = block(
                    features=stage.width,
                    group=stage.group,
                    stride=2 if j == 0 else 1,
                    squeezed=round(self.squeeze * x.shape[-1]),
                    norm=norm,
                    drop=partial(StochasticDepth, next(rates), not train),
                    dtype=self.dtype,
                    name=f"stage{i}_{j}",
                )(x)
            outputs[f"stage{i}"] = x
        if self.num_classes is None:
            return outputs

        x = global_mean(x)  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        small = nn.initializers.normal(0.01)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=small, name="fc")
        return head(x)  # [B, K]


_THEIRS, _OURS = "trunk_output.block{i}.block{i}-{j}", "stage{i}_{j}"
TORCHVISION_RULES = [
    *rules.conv_norm_act("stem", "stem"),
    *rules.conv_norm_act(f"{_THEIRS}.proj", f"{_OURS}/proj"),
    *rules.conv_norm_act(f"{_THEIRS}.f.a", f"{_OURS}/a"),
    *rules.conv_norm_act(f"{_THEIRS}.f.b", f"{_OURS}/b"),
    *rules.conv_norm_act(f"{_THEIRS}.f.c", f"{_OURS}/c"),
    *rules.squeeze_excite(f"{_THEIRS}.f.se", f"{_OURS}/se"),
    ("fc", "fc"),
]

MOST_BLOCKS = 27  # in one stage; timm counts them from 1
TIMM_RULES = [
    ("stem.conv", "stem/conv"),
    ("stem.bn", "stem/norm"),
    *(
        rule
        for j in range(MOST_BLOCKS)
        for theirs, ours in (
            ("conv1", "a"),
            ("conv2", "b"),
            ("conv3", "c"),
            ("downsample", "proj"),
        )
        for rule in (
            (f"s{{i}}.b{j + 1}.{theirs}.conv", f"stage{{i}}_{j}/{ours}/conv"),
            (f"s{{i}}.b{j + 1}.{theirs}.bn", f"stage{{i}}_{j}/{ours}/norm"),
        )
    ),
    *((f"s{{i}}.b{j + 1}.se.fc{{k}}", f"stage{{i}}_{j}/se/fc{{k}}") for j in range(MOST_BLOCKS)),
    ("head.fc", "fc"),
]

register(
    RegNet,
    TABLE,
    paper="Radosavovic et al. 2020, Designing Network Design Spaces, arXiv:2003.13678",
    source="torchvision 0.29",
    rules={"torchvision": TORCHVISION_RULES, "timm": TIMM_RULES},
)
