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
    """Expand 1x1, depthwise, squeeze-and-excitation, project 1x1, and a shortcut where it fits.

    MobileNetV2 introduced it (Sandler et al. 2018, arXiv:1801.04381, figure 3); MobileNetV3,
    MnasNet and EfficientNet ("MBConv") add the squeeze-and-excitation. The projection has no
    activation: ReLU on few channels would destroy information (section 3.2 there).

    Attributes:
        features: channels of the output.
        expanded: channels of the depthwise convolution; no `expand` layer where x has as many.
        kernel, stride, dilation, padding: of the depthwise convolution.
        squeezed: channels of the squeeze-and-excitation; 0 for none.
        act: after `expand` and `depthwise`.
        squeeze_act, gate: of the squeeze-and-excitation.
        shortcut: add x where shape and stride allow.
        norm: builds a normalisation.
        drop: builds the stochastic depth.
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

    What the mobile networks do after a width multiplier (arXiv:1801.04381, reference code).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
