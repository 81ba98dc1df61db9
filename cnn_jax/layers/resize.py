"""Linear interpolation to another size, along every spatial axis."""

from collections.abc import Sequence

import jax

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
    return jax.image.resize(x, shape, "linear", antialias=False)
