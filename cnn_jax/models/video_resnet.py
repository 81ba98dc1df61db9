"""Residual networks for video: convolutions in space and time, mixed, or one after the other."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers import ModuleFactory, batch_norm, conv, global_mean, lecun_uniform
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # arXiv:1711.11248, Table 1 and section 3: R3D is 3x3x3 everywhere; MC3 is 3x3x3 in the first
    # stage and 1x3x3 after it; R(2+1)D has a convolution in space, then one in time.
    "r3d_18": row(33_371_472, 40.697, kinds=("3d", "3d", "3d", "3d")),
    "mc3_18": row(11_695_440, 43.343, kinds=("3d", "2d", "2d", "2d")),
    "r2plus1d_18": row(31_505_325, 40.519, kinds=("2+1d", "2+1d", "2+1d", "2+1d"), stem="2+1d"),
}

PLANES = (64, 128, 256, 512)
BLOCKS = 2  # in each stage


def _conv(
    x: Array,
    features: int,
    *,
    kind: str,
    stride: int,
    between: int,
    norm: Any,
    dtype: Any,
    name: str,
) -> Array:
    """A 3x3x3 convolution of one of three kinds; x is [B, T, H, W, C].

    Args:
        stride: stride in space, and also in time unless `kind` is '2d'.
        between: channels between the two parts of '2+1d'.
    """
    layer = partial(conv, dtype=dtype)
    if kind == "3d":
        return layer(x, features, 3, stride=stride, name=name)
    if kind == "2d":
        return layer(x, features, (1, 3, 3), stride=(1, stride, stride), name=name)
    if kind == "2+1d":
        x = layer(x, between, (1, 3, 3), stride=(1, stride, stride), name=f"{name}_space")
        x = nn.relu(norm(name=f"{name}_bn")(x))
        return layer(x, features, (3, 1, 1), stride=(stride, 1, 1), name=f"{name}_time")
    raise ValueError(f"kind={kind!r} of a convolution: give '3d', '2d' or '2+1d'.")


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    planes: int
    kind: str
    stride: int
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, T, H, W, C] -> [B, T/s, H/s, W/s, planes]
        c, planes = x.shape[-1], self.planes
        # The number of parameters of a full 3x3x3 convolution (section 3.5).
        between = c * planes * 27 // (c * 9 + 3 * planes)
        layer = partial(_conv, kind=self.kind, between=between, norm=self.norm, dtype=self.dtype)
        y = nn.relu(self.norm(name="bn1")(layer(x, planes, stride=self.stride, name="conv1")))
        y = self.norm(name="bn2")(layer(y, planes, stride=1, name="conv2"))
        if self.stride != 1 or c != planes:
            time_stride = 1 if self.kind == "2d" else self.stride
            strides = (time_stride, self.stride, self.stride)
            x = conv(x, planes, 1, stride=strides, dtype=self.dtype, name="downsample_conv")
            x = self.norm(name="downsample_bn")(x)
        return nn.relu(x + y)


class VideoResNet(nn.Module):
    """A residual network of 18 layers for clips of frames.

    x is [B, T, H, W, C]: the first spatial axis is time.

    Stages: 'layer0' (stride 1 in time, 2 in space), 'layer1' (1, 2), 'layer2' (2, 4), 'layer3'
    (4, 8), 'layer4' (8, 16); MC3 has stride 1 in time throughout.

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        kinds: kind of the convolutions of each stage: '3d', '2d' or '2+1d'.
        stem: kind of the first layer, '3d' or '2+1d'.
        drop_rate: dropout rate before the last layer; none in the paper.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the blocks in the backward pass.
    """

    num_classes: int | None
    kinds: Sequence[str]
    stem: str = "3d"
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        if x.ndim != 5:
            raise ValueError(
                f"VideoResNet takes videos [B, T, H, W, C]; got the shape {list(x.shape)}."
            )
        norm = batch_norm(train, dtype=self.dtype, axis_name=self.axis_name)
        block = nn.remat(BasicBlock) if self.remat else BasicBlock
        stages = {}
        x = stages["layer0"] = self._stem(x, norm)
        for i, (planes, kind) in enumerate(zip(PLANES, self.kinds, strict=True), start=1):
            for j in range(BLOCKS):
                stride = 2 if i > 1 and j == 0 else 1
                x = block(planes, kind, stride, norm, self.dtype, name=f"layer{i}_{j}")(x)
            stages[f"layer{i}"] = x
        if self.num_classes is None:
            return stages

        x = global_mean(x)  # [B, 512]
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=lecun_uniform, name="fc")
        return head(x)  # [B, K]

    def _stem(self, x: Array, norm: ModuleFactory) -> Array:
        layer = partial(conv, dtype=self.dtype)
        if self.stem == "3d":
            x = layer(x, 64, (3, 7, 7), stride=(1, 2, 2), name="stem")
            return nn.relu(norm(name="stem_bn")(x))
        x = layer(x, 45, (1, 7, 7), stride=(1, 2, 2), name="stem_space")
        x = nn.relu(norm(name="stem_space_bn")(x))
        x = layer(x, 64, (3, 1, 1), name="stem_time")
        return nn.relu(norm(name="stem_time_bn")(x))


TORCHVISION_RULES = (
    ("stem.0", "stem"),
    ("stem.1", "stem_bn"),
    ("layer{i}.{j}.conv{k}.0", "layer{i}_{j}/conv{k}"),
    ("layer{i}.{j}.conv{k}.1", "layer{i}_{j}/bn{k}"),
    ("layer{i}.{j}.downsample.0", "layer{i}_{j}/downsample_conv"),
    ("layer{i}.{j}.downsample.1", "layer{i}_{j}/downsample_bn"),
    ("fc", "fc"),
    # R(2+1)D
    ("stem.0", "stem_space"),
    ("stem.1", "stem_space_bn"),
    ("stem.3", "stem_time"),
    ("stem.4", "stem_time_bn"),
    ("layer{i}.{j}.conv{k}.0.0", "layer{i}_{j}/conv{k}_space"),
    ("layer{i}.{j}.conv{k}.0.1", "layer{i}_{j}/conv{k}_bn"),
    ("layer{i}.{j}.conv{k}.0.3", "layer{i}_{j}/conv{k}_time"),
)

register(
    VideoResNet,
    TABLE,
    paper="Tran et al. 2017, A Closer Look at Spatiotemporal Convolutions for Action Recognition, "
    "arXiv:1711.11248",
    source="torchvision 0.29",
    input_shape=(16, 112, 112, 3),
    num_classes=400,
    rules={"torchvision": TORCHVISION_RULES},
)
