"""The block of the mobile networks: narrow, wide, narrow."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from cnn_jax.layers.conv import ConvNormAct, ModuleFactory
from cnn_jax.layers.squeeze_excite import SqueezeExcite
from cnn_jax.layers.stochastic_depth import StochasticDepth
from cnn_jax.typing import Array


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excitation, 1x1 projection, shortcut.

    MobileNetV2 introduced it (Sandler et al. 2018, arXiv:1801.04381, figure 3); MobileNetV3,
    MnasNet and EfficientNet ("MBConv") add the squeeze-and-excitation. The projection has no
    activation: ReLU on few channels would destroy information (section 3.2 there).

    Attributes:
        features: number of output channels.
        expanded: channels of the depthwise convolution. If x has as many, there is no `expand`.
        kernel, stride, dilation, padding: settings of the depthwise convolution, see `conv`.
        squeezed: channels in the bottleneck of the squeeze-and-excitation; 0 for none.
        act: activation after `expand` and `depthwise`.
        squeeze_act, gate: the two activations of the squeeze-and-excitation.
        shortcut: whether x is added where the shapes are the same.
        norm: factory of the normalisation.
        drop: factory of the stochastic depth.
    """

    features: int
    expanded: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    padding: str | None = None
    squeezed: int = 0
    act: Callable[[Array], Array] = nn.relu
    squeeze_act: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    shortcut: bool = True
    norm: ModuleFactory = nn.BatchNorm
    drop: ModuleFactory = partial(StochasticDepth, 0.0, True)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, H, W, C] -> [B, H/stride, W/stride, features]
        unit = partial(ConvNormAct, norm=self.norm, dtype=self.dtype)
        y = x
        if self.expanded != x.shape[-1]:
            y = unit(self.expanded, 1, act=self.act, name="expand")(y)
        y = unit(
            self.expanded,
            self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.expanded,
            padding=self.padding,
            act=self.act,
            name="depthwise",
        )(y)
        if self.squeezed:
            y = SqueezeExcite(
                self.squeezed, act=self.squeeze_act, gate=self.gate, dtype=self.dtype, name="se"
            )(y)
        y = unit(self.features, 1, act=None, name="project")(y)
        if self.shortcut and self.stride == 1 and x.shape[-1] == self.features:
            y = x + self.drop(name="drop_path")(y)
        return y


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not below 90% of `channels`, and at least one.

    The mobile networks round so after applying a width multiplier (arXiv:1801.04381, reference
    code).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
