"""The small networks of the page: a classifier, one for curves, one for every pixel of a scene."""

from typing import Literal

import flax.linen as nn

from cnn_jax.layers import batch_norm, conv
from cnn_jax.layers.pool import global_mean, max_pool
from cnn_jax.typing import Array

Subsampling = Literal["pool", "stride", "mean", "none"]


def residual(x: Array, *, train: bool, dilation: int = 1, shortcut: bool = True, relu, name: str):
    """x + two 3x3 convolutions, and a ReLU (He et al. 2016, arXiv:1512.03385, without the second
    batch normalisation, which would be one more layer to read).

    Args:
        x: [B, H, W, C].
        train: whether batch statistics are used.
        dilation: pixels from one tap of the kernels to the next.
        shortcut: whether x is added.
        relu: the activation.
        name: first part of the names of the layers.

    Returns:
        [B, H, W, C].
    """
    features = x.shape[-1]
    y = conv(x, features, 3, dilation=dilation, name=f"{name}a")
    y = batch_norm(train)(name=f"{name}_norm")(y)
    y = relu(y)
    y = conv(y, features, 3, dilation=dilation, use_bias=True, name=f"{name}b")
    return relu(x + y) if shortcut else relu(y)


class Digit(nn.Module):
    """Convolution, ReLU, max pool, convolution, batch norm, residual block, mean, dense.

    Attributes:
        num_classes: number of classes.
        widths: channels before and after the pooling.
        act: False to leave the activations out.
        shortcut: False to leave the shortcut out.
        subsampling: 'pool', or 'stride' for a first convolution of stride 2 in its place.
    """

    num_classes: int = 10
    widths: tuple[int, int] = (8, 16)
    act: bool = True
    shortcut: bool = True
    subsampling: Subsampling = "pool"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        relu = nn.relu if self.act else lambda y: y
        stride = 2 if self.subsampling == "stride" else 1
        x = conv(x, self.widths[0], 5, stride=stride, use_bias=True, name="conv1")
        x = relu(x)  # [B, 24, 24, 8]
        if self.subsampling == "pool":
            x = max_pool(x, 2, stride=2)
        x = conv(x, self.widths[1], 3, name="conv2")
        x = batch_norm(train)(name="norm")(x)
        x = relu(x)  # [B, 12, 12, 16]
        x = residual(x, train=train, shortcut=self.shortcut, relu=relu, name="block")
        return nn.Dense(self.num_classes, name="head")(global_mean(x))  # [B, K]


class Curve(nn.Module):
    """Two convolutions in time with one subsampling after each, mean, dense.

    Attributes:
        num_classes: number of classes.
        widths: channels of the two convolutions.
        subsampling: how 40 samples become 20 and then 10; 'none' keeps all 40.
    """

    num_classes: int = 10
    widths: tuple[int, int] = (12, 24)
    subsampling: Subsampling = "pool"

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for i, width in enumerate(self.widths, start=1):
            stride = 2 if self.subsampling == "stride" else 1
            x = conv(x, width, 5, stride=stride, use_bias=True, name=f"conv{i}")
            x = nn.relu(x)
            if self.subsampling == "pool":
                x = max_pool(x, 2, stride=2)
            elif self.subsampling == "mean":
                x = nn.avg_pool(x, (2,), (2,))
        x = x.reshape(x.shape[0], -1)  # where in time a feature lies counts
        return nn.Dense(self.num_classes, name="head")(x)  # [B, K]


class Scene(nn.Module):
    """The layers of `Digit` without the mean: a class for each position of a map of half the side.

    Two residual blocks with wider steps between the taps look as far as a digit is large.

    Attributes:
        num_classes: number of classes, the background included.
        widths: channels before and after the pooling.
    """

    num_classes: int = 11
    widths: tuple[int, int] = (8, 16)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = conv(x, self.widths[0], 5, use_bias=True, name="conv1")
        x = max_pool(nn.relu(x), 2, stride=2)
        x = conv(x, self.widths[1], 3, name="conv2")
        x = nn.relu(batch_norm(train)(name="norm")(x))  # [B, H / 2, W / 2, 16]
        for i, dilation in enumerate((1, 2, 4), start=1):
            x = residual(x, train=train, dilation=dilation, relu=nn.relu, name=f"block{i}")
        return conv(x, self.num_classes, 1, use_bias=True, name="head")  # [B, H / 2, W / 2, K]
