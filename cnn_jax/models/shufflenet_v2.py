"""ShuffleNet V2: half of the channels pass through, and a shuffle mixes them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ModuleFactory, batch_norm, conv, global_mean, lecun_uniform, max_pool
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # arXiv:1807.11164, Table 5: channels of stages 2, 3 and 4 and of conv5.
    "shufflenet_v2_x0_5": row(1_366_792, 0.040, widths=(48, 96, 192), last_width=1024),
    "shufflenet_v2_x1_0": row(2_278_604, 0.145, widths=(116, 232, 464), last_width=1024),
    "shufflenet_v2_x1_5": row(3_503_624, 0.296, widths=(176, 352, 704), last_width=1024),
    "shufflenet_v2_x2_0": row(7_393_996, 0.583, widths=(244, 488, 976), last_width=2048),
}

STEM_WIDTH = 24
REPEATS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Two branches, concatenated and shuffled (figure 3 c and d).

    At stride 1 the left branch passes the first half of the channels through; at stride 2 both
    branches get all of them.
    """

    features: int
    stride: int
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, features]
        if self.stride == 1:
            left, right = jnp.split(x, 2, axis=-1)
        else:
            left = self._depthwise(x, "left_depthwise")
            left = nn.relu(self._pointwise(left, "left_project"))
            right = x
        right = nn.relu(self._pointwise(right, "right_expand"))
        right = self._depthwise(right, "right_depthwise")
        right = nn.relu(self._pointwise(right, "right_project"))
        return channel_shuffle(jnp.concatenate([left, right], axis=-1), 2)

    def _pointwise(self, x: Array, name: str) -> Array:
        layer = partial(conv, kernel_init=lecun_uniform, dtype=self.dtype)
        return self.norm(name=f"{name}_bn")(layer(x, self.features // 2, 1, name=name))

    def _depthwise(self, x: Array, name: str) -> Array:
        c = x.shape[-1]
        layer = partial(conv, kernel_init=lecun_uniform, dtype=self.dtype)
        x = layer(x, c, 3, stride=self.stride, groups=c, name=name)
        return self.norm(name=f"{name}_bn")(x)


def channel_shuffle(x: Array, groups: int) -> Array:
    """Interleaves `groups` runs of channels: with two, a b c d e f becomes a d b e c f.

    x: [B, *space, C] -> the same shape (arXiv:1707.01083, section 3.1).
    """
    *batch_and_space, channels = x.shape
    x = x.reshape(*batch_and_space, groups, channels // groups)
    return jnp.swapaxes(x, -1, -2).reshape(*batch_and_space, channels)


class ShuffleNetV2(nn.Module):
    """A stem, three stages of shuffle units, a 1x1 convolution.

    Stages: 'stage1' (stride 2), 'stage2' (8), 'stage3' (16), 'stage4' (32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        widths: channels of the stages.
        last_width: channels of the last convolution.
        drop_rate: dropout rate before the last layer; none in the paper.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the units in the backward pass.
    """

    num_classes: int | None
    widths: Sequence[int]
    last_width: int
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        unit = nn.remat(ShuffleUnit) if self.remat else ShuffleUnit
        layer = partial(conv, kernel_init=lecun_uniform, dtype=self.dtype)
        stages = {}
        x = layer(x, STEM_WIDTH, 3, stride=2, name="conv1")
        x = stages["stage1"] = nn.relu(norm(name="bn1")(x))
        x = max_pool(x, 3, stride=2, padding=1)
        for i, (width, repeats) in enumerate(zip(self.widths, REPEATS, strict=True), start=2):
            for j in range(repeats):
                stride = 2 if j == 0 else 1
                x = unit(width, stride, norm, self.dtype, name=f"stage{i}_{j}")(x)
            stages[f"stage{i}"] = x
        if self.num_classes is None:
            return stages

        x = layer(x, self.last_width, 1, name="conv5")
        x = global_mean(nn.relu(norm(name="bn5")(x)))  # [B, last_width]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = partial(nn.Dense, dtype=self.dtype, kernel_init=lecun_uniform)
        return head(self.num_classes, name="fc")(x)  # [B, K]


TORCHVISION_RULES = (
    ("conv1.0", "conv1"),
    ("conv1.1", "bn1"),
    ("stage{i}.{j}.branch1.0", "stage{i}_{j}/left_depthwise"),
    ("stage{i}.{j}.branch1.1", "stage{i}_{j}/left_depthwise_bn"),
    ("stage{i}.{j}.branch1.2", "stage{i}_{j}/left_project"),
    ("stage{i}.{j}.branch1.3", "stage{i}_{j}/left_project_bn"),
    ("stage{i}.{j}.branch2.0", "stage{i}_{j}/right_expand"),
    ("stage{i}.{j}.branch2.1", "stage{i}_{j}/right_expand_bn"),
    ("stage{i}.{j}.branch2.3", "stage{i}_{j}/right_depthwise"),
    ("stage{i}.{j}.branch2.4", "stage{i}_{j}/right_depthwise_bn"),
    ("stage{i}.{j}.branch2.5", "stage{i}_{j}/right_project"),
    ("stage{i}.{j}.branch2.6", "stage{i}_{j}/right_project_bn"),
    ("conv5.0", "conv5"),
    ("conv5.1", "bn5"),
    ("fc", "fc"),
)

register(
    ShuffleNetV2,
    TABLE,
    paper="Ma et al. 2018, ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture "
    "Design, arXiv:1807.11164",
    source="torchvision 0.29",
    rules={"torchvision": TORCHVISION_RULES},
)
