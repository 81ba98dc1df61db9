"""Feature pyramids: every stage of a backbone with the meaning of the deepest (Lin et al. 2017)."""

from collections.abc import Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.layers import batch_norm, conv, max_pool, variance_scaling
from cnn_jax.models.backbones import OnBackbone, backbone_rules, stage, stages_of
from cnn_jax.typing import Array

# What torchvision calls kaiming_uniform_(a=1): uniform within +-sqrt(3 / fan_in).
lecun_uniform_unit = variance_scaling(1.0, "fan_in", "uniform")

EXTRAS = ("pool", "p6p7", "c6c7")


class OnPyramid(OnBackbone, Protocol):
    """The fields of a detector that stands on a pyramid: `stages` of the backbone, fine to coarse,
    and `features`, the channels of every level."""

    @property
    def stages(self) -> Sequence[str]: ...
    @property
    def features(self) -> int: ...


def pyramid_levels(
    network: OnPyramid, x: Array, *, train: bool, extra: str, use_norm: bool = False, **fields: Any
) -> list[Array]:
    """The levels of the pyramid over a detector's backbone, fine to coarse, for x [B, H, W, C].

    To be called inside a compact method: the parameters go under 'backbone' and 'fpn'.

    Args:
        network: the detector.
        x: its input.
        train: whether it is being trained.
        extra, use_norm: see `FeaturePyramid`.
        **fields: further fields of the backbone.
    """
    stages = stages_of(network, x, train=train, **fields)
    pyramid = FeaturePyramid(
        network.features,
        extra,
        use_norm=use_norm,
        norm=batch_norm(train, dtype=network.dtype, axis_name=network.axis_name),
        dtype=network.dtype,
        name="fpn",
    )
    backbone = network.backbone or ""
    return pyramid([stage(stages, name, backbone=backbone) for name in network.stages])


class FeaturePyramid(nn.Module):
    """Stages, fine to coarse, each half the size of the one before -> maps of `features` channels.

    From the top down, a stage reduced by a 1x1 convolution is added to the map above it, enlarged
    by repetition, and smoothed by a 3x3 convolution (arXiv:1612.03144, figure 3).

    Attributes:
        features: channels of every level.
        extra: coarser levels beyond the last: 'pool', one by subsampling (Faster R-CNN); 'p6p7',
            two by 3x3 convolutions of stride 2 on the last level; 'c6c7', the same on the last
            stage (RetinaNet, arXiv:1708.02002, section 4: "P6 via a 3x3 stride-2 conv on C5").
        use_norm: BatchNorm after the convolutions, which then have no bias.
    """

    features: int = 256
    extra: str = "pool"
    use_norm: bool = False
    norm: Any = None
    dtype: Any = None

    @nn.compact
    def __call__(self, stages: Sequence[Array]) -> list[Array]:
        if self.extra not in EXTRAS:
            raise ValueError(f"extra is {self.extra!r}; choose one of {', '.join(EXTRAS)}.")
        top: Array | None = None
        levels: list[Array] = []
        for i in reversed(range(len(stages))):
            lateral = self._unit(stages[i], 1, f"inner{i}")
            top = lateral if top is None else lateral + enlarge(top, lateral.shape[1:-1])
            levels.insert(0, self._unit(top, 3, f"layer{i}"))
        if self.extra == "pool":
            return [*levels, max_pool(levels[-1], 1, stride=2)]
        source = levels[-1] if self.extra == "p6p7" else stages[-1]
        options: dict[str, Any] = {"stride": 2, "use_bias": True, "kernel_init": lecun_uniform_unit}
        p6 = conv(source, self.features, 3, **options, dtype=self.dtype, name="p6")
        p7 = conv(nn.relu(p6), self.features, 3, **options, dtype=self.dtype, name="p7")
        return [*levels, p6, p7]

    def _unit(self, x: Array, kernel: int, name: str) -> Array:
        x = conv(
            x,
            self.features,
            kernel,
            use_bias=not self.use_norm,
            kernel_init=lecun_uniform_unit,
            dtype=self.dtype,
            name=name,
        )
        return self.norm(name=f"{name}_bn")(x) if self.use_norm else x


def enlarge(x: Array, space: Sequence[int]) -> Array:
    """Repeats the features of x [B, *from, C] to [B, *space, C]: the nearest, rounded down."""
    for axis, wanted in enumerate(space, start=1):
        have = x.shape[axis]
        if have != wanted:
            x = jnp.take(x, np.arange(wanted) * have // wanted, axis=axis)
    return x


# torchvision's names of the pyramid.
RULES = (
    ("backbone.fpn.inner_blocks.{i}.0", "fpn/inner{i}"),
    ("backbone.fpn.inner_blocks.{i}.1", "fpn/inner{i}_bn"),
    ("backbone.fpn.layer_blocks.{i}.0", "fpn/layer{i}"),
    ("backbone.fpn.layer_blocks.{i}.1", "fpn/layer{i}_bn"),
    ("backbone.fpn.extra_blocks.p{i}", "fpn/p{i}"),
)


def detector_rules(rules: Sequence[tuple], *, drop: Sequence[str], strip: str = "") -> list[tuple]:
    """torchvision's names of a pyramid and of the backbone under it, see `backbone_rules`."""
    return [*backbone_rules(rules, drop=drop, under="backbone.body", strip=strip), *RULES]
