"""Linear interpolation to another size, along every spatial axis."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import Array


def resize_linear(x: Array, space: Sequence[int]) -> Array:
    """Resamples x [B, *from, C] linearly to [B, *space, C].

    The corners of the first and last pixel stay where they are (half-pixel centres), and pixels
    beyond the border repeat the outermost: PyTorch's interpolate(mode='bilinear') with its default
    align_corners=False. When it shrinks, nothing is averaged (antialiased) either.
    """
    shape = (x.shape[0], *space, x.shape[-1])
    if shape == x.shape:
        return x
    if any(want % have for have, want in zip(x.shape, shape, strict=True)):
        return jax.image.resize(x, shape, "linear", antialias=False)
    for axis, want in enumerate(space, start=1):
        x = _enlarge(x, axis, want // x.shape[axis])
    return x


def _enlarge(x: Array, axis: int, factor: int) -> Array:
    """`factor` times as many pixels along an axis, as the networks here enlarge.

    Slices and sums, where the product with a matrix that `jax.image.resize` makes of it transposes
    the features before and after.
    """
    if factor == 1:
        return x
    shifts = (np.arange(factor) + 0.5) / factor - 0.5  # of the new pixels from the old, -0.5..0.5
    shape = [1] * (x.ndim + 1)
    shape[axis + 1] = factor
    shift = jnp.asarray(shifts, x.dtype).reshape(shape)
    size = x.shape[axis]
    first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, size - 1))
    but_last = jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)
    but_first = jax.lax.slice_in_dim(x, 1, size, axis=axis)
    before = jnp.concatenate([first, but_last], axis)
    after = jnp.concatenate([but_first, last], axis)
    here, before, after = (jnp.expand_dims(part, axis + 1) for part in (x, before, after))
    # [.., size, factor, ..]: half of them towards the pixel before, half towards the one after
    y = here + jnp.maximum(-shift, 0) * (before - here) + jnp.maximum(shift, 0) * (after - here)
    return y.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
