"""The temporal convolutional network (Bai et al. 2018, arXiv:1803.01271): causal and dilated.

An output at time t depends on inputs up to t only. The dilation doubles from block to block, so
that the receptive field grows exponentially with depth: 1 + 2 (kernel - 1) (2^blocks - 1) steps.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.layers import require_sequence
from cnn_jax.models.registry import register, row
from cnn_jax.typing import Array

TABLE = {
    # Table 2: sequential MNIST (784 pixels one after the other), k = 7, 8 levels of 25 channels,
    # dropout 0.05; "70K" parameters.
    "tcn": row(66_910, channels=(25,) * 8, kernel=7, drop_rate=0.05),
    # A smaller one, for about a hundred steps: it sees 121.
    "tcn_small": row(22_710, channels=(25,) * 4, kernel=5, drop_rate=0.05),
}

# Initial kernels as in the authors' code, whatever the fan-in.
INITIAL_LENGTH = nn.initializers.constant(3**-0.5)


class TemporalBlock(nn.Module):
    """Two causal convolutions, each with weight norm, ReLU and dropout; and a shortcut (figure 1b).

    Attributes:
        features: number of output channels.
        kernel: length of the kernels.
        dilation: steps between the inputs of a kernel.
        drop_rate: dropout rate of whole channels ("spatial dropout").
        train: whether channels are dropped.
    """

    features: int
    kernel: int
    dilation: int
    drop_rate: float = 0.0
    train: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, L, C] -> [B, L, features]
        y = self._causal(self._causal(x, 1), 2)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1,), dtype=self.dtype, name="downsample")(x)
        return nn.relu(x + y)

    def _causal(self, x: Array, i: int) -> Array:
        conv = WeightNormConv(
            self.features, self.kernel, self.dilation, dtype=self.dtype, name=f"conv{i}"
        )
        over_time = nn.Dropout(self.drop_rate, broadcast_dims=(1,), name=f"drop{i}")
        return over_time(nn.relu(conv(x)), deterministic=not self.train)


class WeightNormConv(nn.Module):
    """A causal convolution with weight norm (Salimans 2016, arXiv:1602.07868).

    The kernel of each output channel is a length times a direction, learned separately.
    """

    features: int
    kernel: int
    dilation: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:  # [B, L, C] -> [B, L, features]
        shape = (self.kernel, x.shape[-1], self.features)
        direction = self.param("kernel", nn.initializers.normal(0.01), shape)
        length = self.param("length", INITIAL_LENGTH, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = direction * (length / jnp.linalg.norm(direction, axis=(0, 1)))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        past = (self.kernel - 1) * self.dilation
        return bias + jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1,),
            padding=[(past, 0)],
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )


class TCN(nn.Module):
    """A stack of temporal blocks; the last step, which depends on all others, is classified.

    Stages: 'block1' [B, L, channels[0]], 'block2', ...

    Attributes:
        num_classes: number of classes; None to return the stages instead of logits.
        channels: channels of each block; block i has the dilation 2^i.
        kernel: length of the kernels.
        drop_rate: dropout rate of whole channels, after each convolution.
        axis_name: accepted as in every model, without effect: there is no BatchNorm.
        remat: whether to recompute the blocks in the backward pass.
    """

    num_classes: int | None
    channels: Sequence[int] = (25,) * 8
    kernel: int = 7
    drop_rate: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | dict[str, Array]:
        require_sequence(x, "tcn")
        block = nn.remat(TemporalBlock) if self.remat else TemporalBlock
        stages = {}
        for i, features in enumerate(self.channels):
            x = block(
                features,
                self.kernel,
                dilation=2**i,
                drop_rate=self.drop_rate,
                train=train,
                dtype=self.dtype,
                name=f"block{i + 1}",
            )(x)
            stages[f"block{i + 1}"] = x
        if self.num_classes is None:
            return stages
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x[:, -1])  # [B, K]


register(
    TCN,
    TABLE,
    paper="Bai et al. 2018, An Empirical Evaluation of Generic Convolutional and Recurrent "
    "Networks for Sequence Modeling, arXiv:1803.01271",
    source="Table 2 of the paper and the layers of its figure 1, with weight norm's lengths",
    input_shape=(784, 1),
    num_classes=10,
)
