"""Weights and images that follow from a name and a shape: no file, no random generator.

Only integer arithmetic, and products of float32 numbers: the same bits on every machine and in
every version of numpy.
"""

import re
import zlib

import numpy as np

_CHUNK = 1 << 15  # elements at a time: they stay in the cache


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [0, 1), 24 bits each: a hash of the position and the name.

    The mixing function is "lowbias32" (Wellons 2018, nullprogram.com/blog/2018/07/31).
    """
    seed = zlib.crc32(name.encode())
    out = np.empty(int(np.prod(shape)), np.float32)
    for start in range(0, out.size, _CHUNK):
        stop = min(start + _CHUNK, out.size)
        x = np.arange(start, stop, dtype=np.uint32)
        x *= np.uint32(seed | 1)
        x += np.uint32(seed >> 7)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
        out[start:stop] = (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    return out.reshape(shape)


def symmetric(name: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """float32, uniform around 0 with the given standard deviation."""
    values = uniform(name, shape)
    values -= np.float32(0.5)
    values *= np.float32(deviation * 12**0.5)
    return values


def image(size: tuple[int, ...], batch: int = 2) -> np.ndarray:
    """[batch, *size, 3] with mean 0 and deviation 1, as normalised pixels have."""
    return symmetric("image", (batch, *size, 3), 1.0)


def tensor(name: str, shape: tuple[int, ...], exponent: int = 0) -> np.ndarray:
    """The value of a PyTorch tensor.

    Args:
        exponent: of a normalisation: its running variance is about 2 ** (exponent / 4).
    """
    if name.endswith("running_var"):
        variance = uniform(name, shape) * np.float32(0.8) + np.float32(0.8)
        return variance * np.float32(2.0 ** (exponent / 4))
    if name.endswith("running_mean"):
        return symmetric(name, shape, 0.1 * 2.0 ** (exponent / 8))
    if re.search(r"layer_scale$", name) or (name.endswith("weight") and len(shape) == 1):
        return uniform(name, shape) * np.float32(0.4) + np.float32(0.3)
    if len(shape) < 2:  # biases
        return symmetric(name, shape, 0.1)
    fan_in = int(np.prod(shape[1:]))
    return symmetric(name, shape, (2 / fan_in) ** 0.5)


def state_dict(
    shapes: dict[str, tuple[int, ...]], exponents: dict[str, int]
) -> dict[str, np.ndarray]:
    """All tensors; `exponents` by the names of the normalisation modules."""
    return {
        name: tensor(name, shape, exponents.get(name.rpartition(".")[0], 0))
        for name, shape in shapes.items()
    }
