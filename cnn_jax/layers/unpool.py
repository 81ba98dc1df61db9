"""Max pooling that returns the places of its maxima, and the unpooling that uses them."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import Array


def max_pool_with_winners(x: Array) -> tuple[Array, Array]:
    """Max pooling in windows of 2 at stride 2, with the place of each maximum.

    A side of odd length keeps a last window that reaches beyond its end. The first of equal maxima
    wins.

    Args:
        x: [B, *space, C].

    Returns:
        (pooled, winners), each [B, *ceil(space / 2), C]. A winner is the place within its window,
        int32 in 0 .. 2^rank - 1.
    """
    odd = [(0, side % 2) for side in x.shape[1:-1]]
    padded = jnp.pad(x, [(0, 0), *odd, (0, 0)], constant_values=-jnp.inf)
    windows = _windows(padded)  # [B, *half, 2^rank, C]
    winners = windows.argmax(-2).astype(jnp.int32)
    pooled = jnp.take_along_axis(windows, winners[..., None, :], -2)[..., 0, :]
    return pooled, winners


def max_unpool(x: Array, winners: Array, space: tuple[int, ...]) -> Array:
    """Puts each value where its maximum was, and zeros elsewhere (arXiv:1511.00561, section 3).

    Args:
        x: [B, *half, C].
        winners: places from `max_pool_with_winners`, of the same shape.
        space: spatial shape of the array that was pooled.

    Returns:
        [B, *space, C].
    """
    rank = x.ndim - 2
    places = jax.nn.one_hot(winners, 2**rank, axis=-2, dtype=bool)  # [B, *half, 2^rank, C]
    windows = jnp.where(places, x[..., None, :], 0)
    whole = windows.reshape(*x.shape[:-1], *(2,) * rank, x.shape[-1])
    whole = whole.transpose(_interleaved(rank)).reshape(
        x.shape[0], *(2 * side for side in x.shape[1:-1]), x.shape[-1]
    )
    return whole[(slice(None), *(slice(side) for side in space))]


def _windows(x: Array) -> Array:
    """[B, *space, C] with even sides -> [B, *half, 2^rank, C]."""
    rank = x.ndim - 2
    split = [n for side in x.shape[1:-1] for n in (side // 2, 2)]
    x = x.reshape(x.shape[0], *split, x.shape[-1])  # [B, h, 2, w, 2, C]
    x = x.transpose(np.argsort(_interleaved(rank)))  # [B, h, w, 2, 2, C]
    return x.reshape(*x.shape[: 1 + rank], 2**rank, x.shape[-1])


def _interleaved(rank: int) -> list[int]:
    """The transposition [B, h, w, 2, 2, C] -> [B, h, 2, w, 2, C]."""
    inner = [axis for i in range(1, rank + 1) for axis in (i, i + rank)]
    return [0, *inner, 2 * rank + 1]
