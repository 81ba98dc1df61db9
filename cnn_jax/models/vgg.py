"""VGG: stacks of 3x3 convolutions, with and without BatchNorm."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import adaptive_mean, batch_norm, conv, max_pool, require_size
from cnn_jax.models.registry import Row, register, row
from cnn_jax.typing import Array
from cnn_jax.weights.layouts import POINTWISE_CONV, convolved, flattened
from cnn_jax.weights.torch import Rules

WIDTHS = (64, 128, 256, 512, 512)
GRID = 7  # side after five poolings for 224 pixels; other sizes are averaged to it
MIN_SIZE = 32


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, a 2x2 max pool after each, and three dense layers.

    Stages: 'conv1' (stride 1), 'conv2' (2), 'conv3' (4), 'conv4' (8), 'conv5' (16), each before its
    pooling. Papers that build on VGG-16 call them conv1_2 ... conv5_3.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        depths: number of convolutions in each stage.
        use_norm: whether BatchNorm follows every convolution (arXiv:1502.03167).
        drop_rate: dropout rate after the first two dense layers, section 3.1.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute each stage in the backward pass.
    """

    num_classes: int | None
    depths: Sequence[int]
    use_norm: bool = False
    drop_rate: float = 0.5
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_size(x, MIN_SIZE, "VGG")
        stages = {}
        stage = nn.remat(VGG._stage, static_argnums=(2, 3)) if self.remat else VGG._stage
        for i in range(1, 6):
            x = stages[f"conv{i}"] = stage(self, x, i, train)
            x = max_pool(x, 2, stride=2)
        if self.num_classes is None:
            return stages

        # Section 3.1: variance 0.01 squared; for the convolutions that of arXiv:1502.01852.
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01))
        drop = partial(nn.Dropout, self.drop_rate, deterministic=not train)
        x = adaptive_mean(x, GRID)  # [B, 7, 7, 512]
        x = x.reshape(x.shape[0], -1)  # [B, 25088]
        x = drop(name="drop6")(nn.relu(dense(4096, name="fc6")(x)))
        x = drop(name="drop7")(nn.relu(dense(4096, name="fc7")(x)))
        return dense(self.num_classes, name="fc8")(x)  # [B, K]

    def _stage(self, x: Array, i: int, train: bool) -> Array:
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        for j in range(1, self.depths[i - 1] + 1):
            x = conv(x, WIDTHS[i - 1], 3, use_bias=True, dtype=self.dtype, name=f"conv{i}_{j}")
            x = norm(name=f"bn{i}_{j}")(x) if self.use_norm else x
            x = nn.relu(x)
        return x


def _features(depths: Sequence[int], *, use_norm: bool) -> Rules:
    """Names in torchvision and timm, which count ReLU and pooling too: features.0, ..."""
    rules, index = [], 0
    for i, depth in enumerate(depths, start=1):
        for j in range(1, depth + 1):
            rules.append((f"features.{index}", f"conv{i}_{j}"))
            if use_norm:
                rules.append((f"features.{index + 1}", f"bn{i}_{j}"))
            index += 3 if use_norm else 2
        index += 1
    return tuple(rules)


def _row(params: int, gmacs: float, depths: Sequence[int], *, use_norm: bool = False) -> Row:
    features = _features(depths, use_norm=use_norm)
    rules = {
        "torchvision": (
            *features,
            ("classifier.0", "fc6", flattened(GRID, GRID, 512)),
            ("classifier.3", "fc7"),
            ("classifier.6", "fc8"),
        ),
        "timm": (  # the dense layers as convolutions of 7x7 and of 1x1
            *features,
            ("pre_logits.fc1", "fc6", convolved(GRID, GRID, 512)),
            ("pre_logits.fc2", "fc7", POINTWISE_CONV),
            ("head.fc", "fc8"),
        ),
    }
    return row(params, gmacs, changes={"rules": rules}, depths=depths, use_norm=use_norm)


TABLE = {
    # arXiv:1409.1556, Table 1, columns A, B, D and E.
    "vgg11": _row(132_863_336, 7.609, (1, 1, 2, 2, 2)),
    "vgg13": _row(133_047_848, 11.308, (2, 2, 2, 2, 2)),
    "vgg16": _row(138_357_544, 15.470, (2, 2, 3, 3, 3)),
    "vgg19": _row(143_667_240, 19.632, (2, 2, 4, 4, 4)),
    "vgg11_bn": _row(132_868_840, 7.609, (1, 1, 2, 2, 2), use_norm=True),
    "vgg13_bn": _row(133_053_736, 11.308, (2, 2, 2, 2, 2), use_norm=True),
    "vgg16_bn": _row(138_365_992, 15.470, (2, 2, 3, 3, 3), use_norm=True),
    "vgg19_bn": _row(143_678_248, 19.632, (2, 2, 4, 4, 4), use_norm=True),
}

register(
    VGG,
    TABLE,
    paper="Simonyan & Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image "
    "Recognition, arXiv:1409.1556",
    source="torchvision 0.29",
    min_size=MIN_SIZE,
)
