"""Convolution with the padding of the papers, and the conv-norm-act unit of most networks."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import Array

ModuleFactory = Callable[..., Any]  # builds a layer for a module: partial(Layer)


@partial(jax.jit, static_argnames=("size", "uniform", "dtype"))
def _draw(key: Array, deviation: float, *, size: int, uniform: bool, dtype: Any) -> Array:
    if uniform:
        return jax.random.uniform(key, (size,), dtype, -1) * (3**0.5 * deviation)
    return jax.random.normal(key, (size,), dtype) * deviation


@partial(jax.jit, static_argnums=1)
def _cut(row: Array, shape: tuple[int, ...]) -> Array:
    return row[: math.prod(shape)].reshape(shape)


def variance_scaling(scale: float, mode: str, distribution: str) -> Callable:
    """`nn.initializers.variance_scaling`, compiled less often; the same numbers with threefry.

    They are drawn in one row, whose length is a power of two, and then cut to size and shape. So
    JAX compiles a few programs instead of one for each shape of kernel: without a cache ResNet-50
    starts in half the time.

    Args:
        scale: product of the variance and the fan.
        mode: 'fan_in' or 'fan_out': the number of inputs per output of the layer, or the reverse.
        distribution: 'normal' or 'uniform'.

    Returns:
        (key, shape [*window, in, out], dtype) -> a kernel; ValueError for fewer than two axes.

    Raises:
        ValueError: for another mode or distribution.
    """
    if mode not in ("fan_in", "fan_out") or distribution not in ("normal", "uniform"):
        raise ValueError(
            f"variance_scaling got mode={mode!r} and distribution={distribution!r}: give 'fan_in' "
            "or 'fan_out', and 'normal' or 'uniform'."
        )

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        if len(shape) < 2:
            raise ValueError(f"A kernel is [*window, in, out]; got the shape {list(shape)}.")
        fan = math.prod(shape[:-2]) * shape[-2 if mode == "fan_in" else -1]
        size = math.prod(shape)
        row = _draw(
            key,
            np.sqrt(scale / max(1, fan)).astype(dtype),
            size=1 << (size - 1).bit_length() if size else 0,
            uniform=distribution == "uniform",
            dtype=jnp.dtype(dtype),
        )
        return _cut(row, tuple(shape))

    return init


# He et al. 2015, arXiv:1502.01852, equation 14: variance 2 / fan_out keeps the scale of the
# gradients through ReLU. In torchvision: kaiming_normal_(mode='fan_out').
he_normal_fan_out = variance_scaling(2.0, "fan_out", "normal")

# Uniform in +-1/sqrt(fan_in), LeCun 1998 section 4.6 up to a constant: PyTorch's default.
lecun_uniform = variance_scaling(1 / 3, "fan_in", "uniform")


def conv(
    x: Array,
    features: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding: int | Sequence[int] | str | None = None,
    use_bias: bool = False,
    kernel_init: Callable = he_normal_fan_out,
    bias_init: Callable = nn.initializers.zeros,
    dtype: Any = None,
    name: str,
) -> Array:
    """`nn.Conv` over all spatial axes of x, with the same padding on both sides.

    The default padding, dilation * (kernel - 1) / 2, is that of the papers and of PyTorch. At
    stride 2 it differs from `padding='SAME'`, which pads an image of even size by one pixel less
    on the left: a network trained with one is off by a pixel per stage with the other.

    Call it in a compact method: the parameters belong to the calling module, under `name`.

    Args:
        x: [B, *space, C], with one, two or three spatial axes.
        features: number of output channels.
        kernel: size along all spatial axes, or a sequence of one size per axis. The same holds for
            stride, dilation and padding.
        padding: pixels on each side; None for the default above; 'SAME' for that of TensorFlow.
        name: name of the nn.Conv.

    Returns:
        [B, *space, features], each axis ceil(size / stride) long for odd kernels.
    """
    rank = x.ndim - 2
    kernel, stride, dilation = (per_axis(v, rank) for v in (kernel, stride, dilation))
    if padding is None:
        padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    pads: str | list[tuple[int, int]]
    if isinstance(padding, str):
        pads = padding
    else:
        pads = [(pixels, pixels) for pixels in per_axis(padding, rank)]
    return nn.Conv(
        features,
        kernel,
        strides=stride,
        kernel_dilation=dilation,
        feature_group_count=groups,
        padding=pads,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        name=name,
    )(x)


def per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One value for each of `rank` spatial axes: 3 -> (3, 3); (1, 3, 3) stays as it is.

    Raises:
        ValueError: if the length of a sequence is not `rank`.
    """
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(
            f"{tuple(value)} has {len(value)} entries for {rank} spatial axes: give one per axis."
        )
    return tuple(value)


class ConvNormAct(nn.Module):
    """Convolution without bias, normalisation, activation.

    Attributes:
        features, kernel, stride, dilation, groups, padding, kernel_init, dtype: see `conv`.
        norm: factory of the normalisation: `batch_norm(train)`.
        act: activation; None for none.
    """

    features: int
    kernel: int | Sequence[int] = 3
    stride: int | Sequence[int] = 1
    dilation: int | Sequence[int] = 1
    groups: int = 1
    padding: int | Sequence[int] | str | None = None
    norm: ModuleFactory = nn.BatchNorm
    act: Callable[[Array], Array] | None = nn.relu
    kernel_init: Callable = he_normal_fan_out
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = conv(
            x,
            self.features,
            self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            padding=self.padding,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )
        x = self.norm(name="norm")(x)
        return x if self.act is None else self.act(x)
