"""Squeeze-and-excitation: channels weighted by features of the whole image."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from cnn_jax.layers.conv import conv, he_normal_fan_out
from cnn_jax.typing import Array


class SqueezeExcite(nn.Module):
    """x * gate(W2 act(W1 mean(x))) (Hu et al. 2018, arXiv:1709.01507, equation 3).

    Attributes:
        squeezed: channels in the bottleneck; C / 16 in the paper.
        act: activation between the two layers.
        gate: function to [0, 1]; the hard sigmoid in MobileNetV3.
    """

    squeezed: int
    act: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    kernel_init: Callable = he_normal_fan_out
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, *space, C] -> [B, *space, C]
        layer = {"use_bias": True, "kernel_init": self.kernel_init, "dtype": self.dtype}
        scale = x.mean(tuple(range(1, x.ndim - 1)), keepdims=True)  # [B, 1, 1, C]
        scale = self.act(conv(scale, self.squeezed, 1, name="fc1", **layer))
        scale = self.gate(conv(scale, x.shape[-1], 1, name="fc2", **layer))
        return x * scale
