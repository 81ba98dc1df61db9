"""Linear interpolation to another size, along all spatial axes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import Array


def resize_linear(x: Array, space: Sequence[int]) -> Array:
    """Resamples x [B, *old, C] linearly to [B, *space, C].

    The outer corners of the first and last pixel stay where they are (half-pixel centres), and
    the outermost pixels are repeated beyond the border. This is PyTorch's
    interpolate(mode='bilinear') with its default align_corners=False; nor is there antialiasing
    when the image shrinks.
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
    """Enlarges an axis by a whole factor, as the networks here do.

    It takes slices and sums. `jax.image.resize` multiplies by a matrix, which transposes the
    features before and after.
    """
    if factor == 1:
        return x
    shifts = (
        np.arange(factor) + 0.5
    ) / factor - 0.5  # from an old pixel to its new ones, -0.5..0.5
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
    # [.., size, factor, ..]: half of the new pixels lie towards the one before, half the one after
    y = here + jnp.maximum(-shift, 0) * (before - here) + jnp.maximum(shift, 0) * (after - here)
    return y.reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
