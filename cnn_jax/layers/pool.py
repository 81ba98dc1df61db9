"""Pooling over all spatial axes, with the padding of the papers."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.layers.conv import per_axis
from cnn_jax.typing import Array


def max_pool(
    x: Array,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int],
    padding: int | Sequence[int] = 0,
    ceil: bool = False,
) -> Array:
    """The maximum over windows of x [B, *space, C]. Padding counts as minus infinity.

    Args:
        x: [B, *space, C].
        window, stride, padding: one value for all spatial axes, or a sequence of one per axis.
        ceil: whether to keep a last window that reaches beyond the end (PyTorch's ceil_mode), as
            Caffe did and as the weights of GoogLeNet and SqueezeNet expect.

    Returns:
        [B, *pooled, C].
    """
    rank = x.ndim - 2
    window, stride, padding = (per_axis(v, rank) for v in (window, stride, padding))
    pads = [(p, p) for p in padding]
    if ceil:
        sizes = zip(x.shape[1:-1], window, stride, padding, strict=True)
        pads = [(p, p + _overhang(n, w, s, p)) for n, w, s, p in sizes]
    return nn.max_pool(x, window, stride, padding=pads)


def _overhang(size: int, window: int, stride: int, padding: int) -> int:
    """Pixels by which the last window reaches beyond the padding; it must start before the end."""
    windows = -(-(size + 2 * padding - window) // stride) + 1
    if (windows - 1) * stride >= size + padding:
        windows -= 1
    return max((windows - 1) * stride + window - size - 2 * padding, 0)


def global_mean(x: Array) -> Array:
    """The mean over all positions: [B, *space, C] -> [B, C]."""
    return x.mean(tuple(range(1, x.ndim - 1)))


def adaptive_mean(x: Array, size: int) -> Array:
    """The mean over each cell of a grid with `size` cells along every spatial axis.

    Cell i of an axis of n pixels covers floor(i n / size) to ceil((i + 1) n / size). Neighbours
    overlap by a pixel if size does not divide n, and repeat if n < size. This is PyTorch's
    AdaptiveAvgPool; with it the dense layers of AlexNet and VGG accept images of any size.

    Args:
        x: [B, *space, C].
        size: cells per axis.

    Returns:
        [B, size, ..., C].
    """
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        if n != size:
            x = jnp.moveaxis(x, axis, -1)
            x = jnp.matmul(x, _cells(n, size).astype(x.dtype), precision=jax.lax.Precision.HIGHEST)
            x = jnp.moveaxis(x, -1, axis)
    return x


def _cells(n: int, size: int) -> np.ndarray:  # [n, size]: column i averages cell i
    weights = np.zeros((n, size), np.float32)
    for i in range(size):
        start, stop = i * n // size, -(-(i + 1) * n // size)
        weights[start:stop, i] = 1 / (stop - start)
    return weights
