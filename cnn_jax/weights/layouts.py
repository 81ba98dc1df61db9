"""The axis orders of a weight in PyTorch and Flax, as pairs of inverse permutations."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """The two axis orders of a weight.

    Attributes:
        to_flax: PyTorch's array -> Flax's; None if its rank or size cannot be right.
        to_torch: Flax's array -> PyTorch's.
    """

    to_flax: Callable[[np.ndarray], np.ndarray | None]
    to_torch: Callable[[np.ndarray], np.ndarray]

    def torch_shape(self, flax_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of PyTorch's array, computed from an array that takes no memory."""
        return self.to_torch(np.broadcast_to(np.float32(0), flax_shape)).shape


SAME = Layout(lambda w: w, lambda w: w)

# [O, I] <-> [I, O]
DENSE = Layout(lambda w: w.T if w.ndim == 2 else None, lambda w: w.T)

# [O, I / groups, *k] <-> [*k, I / groups, O], in any number of dimensions; depthwise included.
CONV = Layout(
    lambda w: np.moveaxis(w, (0, 1), (-1, -2)) if w.ndim >= 3 else None,
    lambda w: np.moveaxis(w, (-1, -2), (0, 1)),
)

# PyTorch's [I, O, *k] is the kernel of the convolution that it transposes; nn.ConvTranspose's
# [*k, I, O] slides over the dilated input, so it is flipped.
TRANSPOSED_CONV = Layout(
    lambda w: _turned(np.moveaxis(w, (0, 1), (-2, -1))) if w.ndim >= 3 else None,
    lambda w: np.moveaxis(_turned(w), (-2, -1), (0, 1)),
)

# PyTorch's 1x1 convolution [O, I, 1, 1] is a dense layer here [I, O].
POINTWISE_CONV = Layout(
    lambda w: w[:, :, 0, 0].T if w.ndim == 4 and w.shape[2:] == (1, 1) else None,
    lambda w: w.T[:, :, None, None],
)

# PyTorch's dense layer [O, I] is a 1x1 convolution here [1, 1, I, O].
POINTWISE_DENSE = Layout(
    lambda w: w.T[None, None] if w.ndim == 2 else None,
    lambda w: w[0, 0].T,
)

# A vector that PyTorch keeps as [C, 1, 1], to broadcast over an image [C, H, W].
CHANNEL_FIRST_VECTOR = Layout(
    lambda w: w[:, 0, 0] if w.ndim == 3 and w.shape[1:] == (1, 1) else None,
    lambda w: w[:, None, None],
)


def flattened(*shape: int) -> Layout:
    """A dense layer that follows the flattening of feature maps.

    PyTorch flattens C, H, W and Flax H, W, C: the same inputs in another order. Without this a
    ported VGG still runs, but is wrong.

    Args:
        shape: shape (*space, C) of the feature maps.
    """
    *space, channels = shape
    rank = len(space)
    inputs = math.prod(shape)

    def to_flax(w: np.ndarray) -> np.ndarray | None:  # [O, C * H * W] -> [H * W * C, O]
        if w.ndim != 2 or w.shape[1] != inputs:
            return None
        w = w.reshape(-1, channels, *space)
        return np.moveaxis(w, (0, 1), (-1, -2)).reshape(inputs, -1)

    def to_torch(w: np.ndarray) -> np.ndarray:  # [H * W * C, O] -> [O, C * H * W]
        w = w.reshape(*space, channels, -1)
        return np.moveaxis(w, (rank + 1, rank), (0, 1)).reshape(-1, inputs)

    return Layout(to_flax, to_torch)


def convolved(*shape: int) -> Layout:
    """A dense layer on flattened feature maps that PyTorch keeps as one convolution over them.

    [O, C, *space] <-> [prod(space) * C, O]

    Args:
        shape: shape (*space, C) of the feature maps.
    """
    *space, channels = shape

    def to_flax(w: np.ndarray) -> np.ndarray | None:
        if w.shape[1:] != (channels, *space):
            return None
        return np.moveaxis(w, (0, 1), (-1, -2)).reshape(-1, w.shape[0])

    def to_torch(w: np.ndarray) -> np.ndarray:
        return np.moveaxis(w.reshape(*shape, -1), (-1, -2), (0, 1))

    return Layout(to_flax, to_torch)


def default(flax_rank: int, leaf: str) -> Layout:
    """The layout that follows from the name of a Flax leaf and its rank."""
    if leaf != "kernel":
        return SAME
    return DENSE if flax_rank == 2 else CONV


def _turned(kernel: np.ndarray) -> np.ndarray:
    return np.flip(kernel, tuple(range(kernel.ndim - 2)))
