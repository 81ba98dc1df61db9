"""Layers of frozen functions that are matrix products, by one call to oneDNN each.

oneDNN multiplies by a kernel that lies in its own order: columns in blocks, each block row by row.
It writes that order anew at each call, unless it is told that the kernel lies so already. A frozen
kernel can. Which order that is depends on the processor and on the sizes, and oneDNN does not say;
so `block` tries the orders that there are on random numbers.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax.cpu import onednn

BLOCKS = (64, 48, 32, 24, 16)  # columns; on processors with AVX-512 64 was seen
# A kernel of few numbers, or one that is used for many rows, gains nothing (Zen 4, two cores, jax
# 0.10.2): 512 to 2048 channels for 16 rows 0.7 of the time, for 144 rows 0.9, for 576 0.96.
LEAST_PACKED, MOST_ROWS = 400_000, 600
STEP = 7  # numbers between rows of the kernel with which an order is tried


class Versions(NamedTuple):
    """A kernel [C, F] as it is kept, and what is done with it.

    Attributes:
        kernel: the array that is kept.
        restored: gives the kernel [C, F] of it.
        call: (x [..., C], [kernel], bias [F] or None, added or None) -> [..., F], by oneDNN.
    """

    kernel: np.ndarray
    restored: Callable[[Any], Any]
    call: Callable[..., jax.Array]


def versions(kernel: np.ndarray, rows: int, after: Sequence[str]) -> Versions:
    """How a layer multiplies by a kernel [C, F].

    Args:
        rows: number of rows of x.
        after: what follows, as in `onednn.convolution`.
    """
    size = block(rows, *kernel.shape, tuple(after)) if _worth(rows, *kernel.shape) else 0
    if not size:
        return Versions(kernel, lambda kept: kept, partial(_call, onednn.matmul, after))
    restored = partial(unpacked, shape=kernel.shape, size=size)
    multiply = partial(onednn.packed_matmul, features=kernel.shape[1])
    return Versions(packed(kernel, size), restored, partial(_call, multiply, after))


def _worth(rows: int, channels: int, features: int) -> bool:
    return channels * features >= LEAST_PACKED and rows <= MOST_ROWS


def _call(
    multiply: Callable[..., jax.Array],
    after: Sequence[str],
    x: Any,
    kernels: Sequence[Any],
    bias: Any,
    added: Any,
) -> jax.Array:
    operands = [each for each in (bias, added) if each is not None]
    y = multiply(x.reshape(-1, x.shape[-1]), kernels[0], after=after, operands=operands)
    return y.reshape(*x.shape[:-1], -1)


@cache
def block(rows: int, channels: int, features: int, after: tuple[str, ...] = ()) -> int:
    """The number of columns in a block of a packed kernel for such a product; 0 if none is right.

    Half the random products of a wrong order would have the wrong sign: they cannot be taken for
    right ones. The kernel is a view of few random numbers: its rows are windows, STEP apart.
    """
    if channels % 16:  # rows would be padded
        return 0
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    line = numbers((channels - 1) * STEP + features)
    kernel = np.lib.stride_tricks.sliding_window_view(line, features)[::STEP]
    operands = [
        numbers(*((features,) if each == "BIAS" else (rows, features)))
        for each in after
        if each in ("BIAS", "BINARY_ADD")
    ]
    x = numbers(rows, channels)
    product = x @ kernel

    @jax.jit
    def both(x: Any, flat: Any, product: Any, *operands: Any) -> tuple[jax.Array, jax.Array]:
        got = onednn.packed_matmul(x, flat, features, after, operands)
        return got, _followed(product, after, operands)

    room = channels * 2 * max(BLOCKS)  # whatever is read of it
    for size in BLOCKS:
        flat = packed(kernel, size, room)
        got, want = map(np.asarray, both(x, flat, product, *operands))
        with np.errstate(invalid="ignore"):  # a wrong order may give anything
            if np.abs(got - want).max() <= 1e-4 * np.abs(want).max():
                return size
    return 0


def _followed(y: Any, after: Sequence[str], operands: Sequence[Any]) -> Any:
    """What follows a product, by JAX's operations."""
    left = list(operands)
    for each in after:
        y = y + left.pop(0) if each in ("BIAS", "BINARY_ADD") else onednn.ACTIVATIONS[each](y)
    return y


def packed(kernel: np.ndarray, size: int, room: int = 0) -> np.ndarray:
    """A kernel [C, F] in blocks of `size` columns: flat, and `room` zeros behind it."""
    channels, features = kernel.shape
    blocks = -(-features // size)
    flat = np.zeros(blocks * channels * size + room, kernel.dtype)
    lying = flat[: flat.size - room].reshape(blocks, channels, size)
    for i, columns in enumerate(lying):
        some = kernel[:, i * size : (i + 1) * size]
        columns[:, : some.shape[1]] = some
    return flat


def unpacked(flat: Any, shape: tuple[int, int], size: int) -> Any:
    """The kernel of this shape that was packed."""
    channels, features = shape
    return flat.reshape(-1, channels, size).swapaxes(0, 1).reshape(channels, -1)[:, :features]
