"""ConvNeXt (Liu et al. 2022): a ResNet modernised step by step with the design of Transformers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import (
    ModuleFactory,
    StochasticDepth,
    conv,
    global_mean,
    linear_rates,
    require_size,
)
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array
from cnn_jax.weights.layouts import CHANNEL_FIRST_VECTOR

# Section 3, "variants": C = widths, B = blocks. Stochastic depth: appendix A.1, Table 5.
TABLE = {
    "convnext_tiny": row(
        28_589_128,
        4.456,
        blocks=(3, 3, 9, 3),
        widths=(96, 192, 384, 768),
        stochastic_depth_rate=0.1,
    ),
    "convnext_small": row(
        50_223_688,
        8.684,
        blocks=(3, 3, 27, 3),
        widths=(96, 192, 384, 768),
        stochastic_depth_rate=0.4,
    ),
    "convnext_base": row(
        88_591_464,
        15.355,
        blocks=(3, 3, 27, 3),
        widths=(128, 256, 512, 1024),
        stochastic_depth_rate=0.5,
    ),
    "convnext_large": row(
        197_767_336,
        34.361,
        blocks=(3, 3, 27, 3),
        widths=(192, 384, 768, 1536),
        stochastic_depth_rate=0.5,
    ),
}

MIN_SIZE = 32  # patches of 4x4, then three times of 2x2
LAYER_SCALE = 1e-6  # initial scale of a branch, appendix A.1 (arXiv:2103.17239)

# Appendix A.1 says truncated normal, 0.02. The reference code truncates at 2, a hundred standard
# deviations; JAX would truncate at two, which leaves a standard deviation of 0.0176.
normal_002 = nn.initializers.normal(0.02)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, 1x1 to four times the width, GELU, 1x1 back (figure 4)."""

    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H, W, C]
        width = x.shape[-1]
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=normal_002)
        y = conv(
            x,
            width,
            7,
            groups=width,
            use_bias=True,
            kernel_init=normal_002,
            dtype=self.dtype,
            name="depthwise",
        )
        y = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(dense(4 * width, name="fc1")(y), approximate=False)
        y = dense(width, name="fc2")(y)
        scale = self.param("layer_scale", nn.initializers.constant(LAYER_SCALE), (width,))
        return x + self.drop(name="drop_path")(y * scale.astype(y.dtype))


class ConvNeXt(nn.Module):
    """Patches of 4x4 and four stages, with a LayerNorm and a 2x2 convolution between them.

    Stages: 'stage1' (stride 4), 'stage2' (8), 'stage3' (16), 'stage4' (32). They are residual
    sums; a dense task normalises each of them, as the last one is normalised here before the head.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        blocks, widths: number of blocks and of channels in each stage.
        stochastic_depth_rate: rate of the last block; the rates rise linearly from 0.
        drop_rate: dropout rate before the last layer; the paper has none.
        axis_name: accepted as in every model, without effect: there is no BatchNorm here.
        dtype, remat: see `cnn_jax.models.resnet.ResNet`.

    Raises:
        ValueError: if a side is shorter than 32 pixels.
    """

    num_classes: int | None
    blocks: Sequence[int]
    widths: Sequence[int]
    stochastic_depth_rate: float = 0.0
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "ConvNeXt")
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        patches = partial(conv, padding=0, use_bias=True, kernel_init=normal_002, dtype=self.dtype)
        rates = iter(linear_rates(self.stochastic_depth_rate, sum(self.blocks)))
        block = nn.remat(ConvNeXtBlock) if self.remat else ConvNeXtBlock
        stages = {}

        for i, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
            if i == 1:
                x = patches(x, width, 4, stride=4, name="stem_conv")
                x = norm(name="stem_norm")(x)  # [B, H/4, W/4, width]
            else:
                x = norm(name=f"downsample{i}_norm")(x)
                x = patches(x, width, 2, stride=2, name=f"downsample{i}_conv")
            for j in range(blocks):
                drop = partial(StochasticDepth, next(rates), not train)
                x = block(drop=drop, dtype=self.dtype, name=f"stage{i}_{j}")(x)
            stages[f"stage{i}"] = x
        if self.num_classes is None:
            return stages

        x = norm(name="norm")(global_mean(x))  # [B, C]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=normal_002, name="head")
        return head(x)  # [B, K]


# torchvision counts stem, stage, downsampling, stage ...: stage i is its features.{2i - 1}.
TORCHVISION_RULES = [
    ("features.0.0", "stem_conv"),
    ("features.0.1", "stem_norm"),
    *(
        rule
        for i in range(1, 5)
        for rule in (
            (f"features.{2 * i - 2}.0", f"downsample{i}_norm"),
            (f"features.{2 * i - 2}.1", f"downsample{i}_conv"),
            (f"features.{2 * i - 1}.{{j}}.block.0", f"stage{i}_{{j}}/depthwise"),
            (f"features.{2 * i - 1}.{{j}}.block.2", f"stage{i}_{{j}}/norm"),
            (f"features.{2 * i - 1}.{{j}}.block.3", f"stage{i}_{{j}}/fc1"),
            (f"features.{2 * i - 1}.{{j}}.block.5", f"stage{i}_{{j}}/fc2"),
            (
                f"features.{2 * i - 1}.{{j}}.layer_scale",
                f"stage{i}_{{j}}/layer_scale",
                CHANNEL_FIRST_VECTOR,
            ),
        )
    ),
    ("classifier.0", "norm"),
    ("classifier.2", "head"),
]

TIMM_RULES = [
    ("stem.0", "stem_conv"),
    ("stem.1", "stem_norm"),
    *(
        rule
        for i in range(1, 5)
        for rule in (
            (f"stages.{i - 1}.downsample.0", f"downsample{i}_norm"),
            (f"stages.{i - 1}.downsample.1", f"downsample{i}_conv"),
            (f"stages.{i - 1}.blocks.{{j}}.conv_dw", f"stage{i}_{{j}}/depthwise"),
            (f"stages.{i - 1}.blocks.{{j}}.norm", f"stage{i}_{{j}}/norm"),
            (f"stages.{i - 1}.blocks.{{j}}.mlp.fc{{k}}", f"stage{i}_{{j}}/fc{{k}}"),
            (f"stages.{i - 1}.blocks.{{j}}.gamma", f"stage{i}_{{j}}/layer_scale"),
        )
    ),
    ("head.norm", "norm"),
    ("head.fc", "head"),
]

register(
    ConvNeXt,
    TABLE,
    paper="Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
    rules={"torchvision": TORCHVISION_RULES, "timm": TIMM_RULES},
)
