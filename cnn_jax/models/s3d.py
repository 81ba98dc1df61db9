"""S3D: Inception v1 extended to video, with convolutions separated in space and time."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from cnn_jax.layers import ConvNormAct, ModuleFactory, batch_norm, conv, max_pool
from cnn_jax.models.googlenet import INCEPTIONS
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    "s3d": row(8_320_048, 17.979),
}

WINDOW = (2, 7, 7)  # window of the mean before the last layer
MIN_FRAMES, MIN_SIZE = 13, 209  # the smallest input that leaves (2, 7, 7)


class SeparableConv(nn.Module):
    """1 x k x k in space, then k x 1 x 1 in time, each with BatchNorm and ReLU (figure 4)."""

    features: int
    kernel: int
    stride: int = 1
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, T, H, W, C] -> [B, T/s, H/s, W/s, features]
        k, s = self.kernel, self.stride
        layer = partial(ConvNormAct, self.features, norm=self.norm, dtype=self.dtype)
        x = layer((1, k, k), stride=(1, s, s), name="space")(x)
        return layer((k, 1, 1), stride=(s, 1, 1), name="time")(x)


class SeparableInception(nn.Module):
    """The inception module with separable 3x3x3 convolutions in two branches (figure 5)."""

    widths: tuple[int, int, int, int, int, int]
    norm: ModuleFactory = nn.BatchNorm
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        pointwise = partial(ConvNormAct, kernel=1, norm=self.norm, dtype=self.dtype)
        separable = partial(SeparableConv, kernel=3, norm=self.norm, dtype=self.dtype)
        one, reduce_a, a, reduce_b, b, pool = self.widths
        branches = [
            pointwise(one, name="branch0")(x),
            separable(a, name="branch1")(pointwise(reduce_a, name="branch1_reduce")(x)),
            separable(b, name="branch2")(pointwise(reduce_b, name="branch2_reduce")(x)),
            pointwise(pool, name="branch3")(max_pool(x, 3, stride=1, padding=1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class S3D(nn.Module):
    """Separable convolutions and nine separable inception modules.

    x is [B, T, H, W, C] with 13 frames or more, with sides of 209 pixels or more.

    Stages, with their strides in time and space: 'conv1' (2, 2), 'conv3' (2, 4), 'mixed3' (2, 8),
    'mixed4' (4, 16), 'mixed5' (8, 32).

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        drop_rate: dropout rate before the last layer.
        bn_momentum: momentum of the running statistics of BatchNorm.
        axis_name: pmap axis of the BatchNorm statistics.
        remat: whether to recompute the inception modules in the backward pass.
    """

    num_classes: int | None
    drop_rate: float = 0.2
    bn_momentum: float = 0.999
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        if x.ndim != 5:
            raise ValueError(f"S3D takes videos [B, T, H, W, C]; got the shape {list(x.shape)}.")
        norm = batch_norm(
            train,
            momentum=self.bn_momentum,
            epsilon=1e-3,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        separable = partial(SeparableConv, norm=norm, dtype=self.dtype)
        inception = nn.remat(SeparableInception) if self.remat else SeparableInception
        stages = {}
        x = stages["conv1"] = separable(64, 7, 2, name="conv1")(x)
        x = max_pool(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        x = ConvNormAct(64, 1, norm=norm, dtype=self.dtype, name="conv2")(x)
        x = stages["conv3"] = separable(192, 3, name="conv3")(x)
        x = max_pool(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        for part, widths in INCEPTIONS.items():  # the widths of GoogLeNet
            if part == "4a":
                x = max_pool(x, 3, stride=2, padding=1)
            elif part == "5a":
                x = max_pool(x, 2, stride=2)
            x = inception(widths, norm, self.dtype, name=f"mixed{part}")(x)
            stages[f"mixed{part[0]}"] = x
        if self.num_classes is None:
            return stages

        if any(n < w for n, w in zip(x.shape[1:-1], WINDOW, strict=True)):
            raise ValueError(
                f"S3D takes {MIN_FRAMES} frames or more with sides of {MIN_SIZE} pixels or more: "
                f"its last stage is {x.shape[1:-1]}, and the mean before the head covers {WINDOW}."
            )
        x = nn.avg_pool(x, WINDOW, (1, 1, 1))
        x = nn.Dropout(self.drop_rate, deterministic=not train, name="drop")(x)
        x = conv(x, self.num_classes, 1, use_bias=True, dtype=self.dtype, name="classifier")
        return x.mean((1, 2, 3))  # [B, K]


def _unit(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (f"{theirs}.0", f"{ours}/conv"), (f"{theirs}.1", f"{ours}/norm")


def _separable(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return *_unit(f"{theirs}.0", f"{ours}/space"), *_unit(f"{theirs}.1", f"{ours}/time")


# torchvision counts the poolings too: modules 3a and 3b are features.5 and 6, 4a is features.8.
_POSITIONS = dict(zip(INCEPTIONS, (5, 6, 8, 9, 10, 11, 12, 14, 15), strict=True))

TORCHVISION_RULES = (
    *_separable("features.0", "conv1"),
    *_unit("features.2", "conv2"),
    *_separable("features.3", "conv3"),
    *(
        rule
        for part, i in _POSITIONS.items()
        for rule in (
            *_unit(f"features.{i}.branch0", f"mixed{part}/branch0"),
            *_unit(f"features.{i}.branch1.0", f"mixed{part}/branch1_reduce"),
            *_separable(f"features.{i}.branch1.1", f"mixed{part}/branch1"),
            *_unit(f"features.{i}.branch2.0", f"mixed{part}/branch2_reduce"),
            *_separable(f"features.{i}.branch2.1", f"mixed{part}/branch2"),
            *_unit(f"features.{i}.branch3.1", f"mixed{part}/branch3"),
        )
    ),
    ("classifier.1", "classifier"),
)

register(
    S3D,
    TABLE,
    paper="Xie et al. 2017, Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs "
    "in Video Classification, arXiv:1712.04851",
    source="torchvision 0.29",
    input_shape=(16, 224, 224, 3),
    num_classes=400,
    min_size=MIN_SIZE,
    rules={"torchvision": TORCHVISION_RULES},
)
