"""Weights that follow from PyTorch's tensor names alone: golden files need not hold them."""

import zlib

import numpy as np


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 tensor that PyTorch calls `name`."""
    rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("weight") and len(shape) == 1:
        values = rng.uniform(0.2, 0.6, shape)
    elif len(shape) < 2:
        values = rng.normal(0, 0.1, shape)
    else:
        values = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
    return values.astype(np.float32)
