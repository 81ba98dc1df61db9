"""The shape of a convolution, in one layout.

JAX passes every convolution to its lowering rule in the layout of the caller: for example, the
forward pass in NHWC, and the gradient of the kernel with batch and channels exchanged. The methods
of this package know one layout only, and `Geometry` names the sizes in it:

    x  [batch, *space, channels]
    w  [*window, channels / feature_groups, features]
    y  [batch / batch_groups, *out, features]

`to_canonical` and `from_canonical` move arrays into it; where the caller already uses it (NHWC
forward, NHWC kernel gradients) the transpositions are the identity and XLA drops them.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Pairs = tuple[tuple[int, int], ...]


class Geometry(NamedTuple):
    """Sizes of a convolution, all static.

    Attributes:
        batch, channels, features: sizes of x's first and last axis and of w's last axis.
        space, window, out: spatial sizes of x, w and y.
        strides: distances between neighbouring windows.
        padding: zeros (or, if negative, pixels removed) before and after each spatial axis.
        base_dilation: distance between neighbouring pixels of x before padding (lhs_dilation in
            JAX); above 1 for transposed convolutions and the input gradient of strided ones.
        window_dilation: distance between neighbouring taps (rhs_dilation in JAX).
        feature_groups: number of groups of channels and features, which do not mix.
        batch_groups: number of groups of batch and features, in the kernel gradient of a grouped
            convolution.
        kernel_transposed: whether w is [*window, features, channels / feature_groups], as in input
            gradients; transposing it would cost more than contracting its last axis.
        exchanged: whether batch and channels of x have changed places, as in the kernel gradients
            that JAX writes.
    """

    batch: int
    channels: int
    features: int
    space: tuple[int, ...]
    window: tuple[int, ...]
    out: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pairs
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]
    feature_groups: int
    batch_groups: int
    kernel_transposed: bool = False
    exchanged: bool = False

    @property
    def rank(self) -> int:
        return len(self.space)

    @property
    def taps(self) -> int:
        """Number of positions of the window."""
        return math.prod(self.window)

    @property
    def positions(self) -> int:
        """Number of positions of the output, for one example."""
        return math.prod(self.out)

    @property
    def pixels(self) -> int:
        """Number of positions of the output, over the batch."""
        return self.batch // self.batch_groups * self.positions

    @property
    def multiplications(self) -> int:
        """Number of multiply-adds by the definition, padding included."""
        return self.pixels * self.taps * self.channels // self.feature_groups * self.features


def of(x_shape, w_shape, y_shape, params: dict[str, Any]) -> Geometry:
    """The Geometry for the operand shapes and parameters of `conv_general_dilated_p`."""
    x_spec, w_spec, y_spec = params["dimension_numbers"]
    return Geometry(
        kernel_transposed=w_spec[0] < w_spec[1],
        exchanged=x_spec[0] > x_spec[1],
        batch=x_shape[x_spec[0]],
        channels=x_shape[x_spec[1]],
        features=w_shape[w_spec[0]],
        space=tuple(x_shape[i] for i in x_spec[2:]),
        window=tuple(w_shape[i] for i in w_spec[2:]),
        out=tuple(y_shape[i] for i in y_spec[2:]),
        strides=tuple(map(int, params["window_strides"])),
        padding=tuple((int(lo), int(hi)) for lo, hi in params["padding"]),
        base_dilation=tuple(map(int, params["lhs_dilation"])),
        window_dilation=tuple(map(int, params["rhs_dilation"])),
        feature_groups=params["feature_group_count"],
        batch_groups=params["batch_group_count"],
    )


def to_gradient_form(x: jax.Array, w: jax.Array, dimension_numbers) -> tuple[jax.Array, jax.Array]:
    """Transposes operands to x [channels, *space, batch] and w [channels, *window, features].

    If the convolution is the kernel gradient of an NHWC layer, this is the layout of the layer's
    input and of the gradient of its output, and nothing moves.
    """
    x_spec, w_spec, _ = dimension_numbers
    x = lax.transpose(x, (x_spec[1], *x_spec[2:], x_spec[0]))
    w = lax.transpose(w, (w_spec[1], *w_spec[2:], w_spec[0]))
    return x, w


def from_gradient_form(y: jax.Array, dimension_numbers) -> jax.Array:
    """Transposes y [*out, batch, features] to the caller's layout."""
    return from_canonical(jnp.moveaxis(y, -2, 0), dimension_numbers)


def to_canonical(x: jax.Array, w: jax.Array, dimension_numbers) -> tuple[jax.Array, jax.Array]:
    """Transposes operands to x [batch, *space, channels] and w [*window, channels, features].

    Of the last two axes of w, the one that comes first in the caller's layout stays first.
    """
    x_spec, w_spec, _ = dimension_numbers
    x = lax.transpose(x, (x_spec[0], *x_spec[2:], x_spec[1]))
    w = lax.transpose(w, (*w_spec[2:], *sorted(w_spec[:2])))
    return x, w


def from_canonical(y: jax.Array, dimension_numbers) -> jax.Array:
    """Transposes y [batch, *out, features] to the caller's layout."""
    y_spec = dimension_numbers[2]
    order = (y_spec[0], *y_spec[2:], y_spec[1])  # destination of each canonical axis
    return lax.transpose(y, tuple(order.index(i) for i in range(len(order))))


def untransposed(w: jax.Array, g: Geometry) -> jax.Array:
    """w as [*window, channels / feature_groups, features], transposed or not."""
    return jnp.swapaxes(w, -2, -1) if g.kernel_transposed else w


def pad(x: jax.Array, g: Geometry) -> jax.Array:
    """x with its pixels dilated and its borders padded or cropped: [batch, *padded, channels]."""
    config = [(0, 0, 0)]
    config += [(lo, hi, d - 1) for (lo, hi), d in zip(g.padding, g.base_dilation, strict=True)]
    config += [(0, 0, 0)]
    if all(c == (0, 0, 0) for c in config):
        return x
    return lax.pad(x, x.dtype.type(0), config)


def window_slice(x: jax.Array, start, strides, sizes) -> jax.Array:
    """The pixels `start + strides * i`, i < sizes, of padded x: [batch, *sizes, channels]."""
    limits = [a + s * (n - 1) + 1 for a, s, n in zip(start, strides, sizes, strict=True)]
    lo, hi = (0, *start, 0), (x.shape[0], *limits, x.shape[-1])
    return lax.slice(x, lo, hi, (1, *strides, 1))
