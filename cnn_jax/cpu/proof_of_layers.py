"""The proof of those calls that only frozen functions make: products that are whole layers.

Where one of them does not work, such layers are convolutions, and all else is as it was. So they
come last in the child process, after its report on the calls of `cnn_jax.cpu.proof`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from cnn_jax.cpu import onednn
from cnn_jax.cpu import products as with_packed

TOLERANCE = 16 * 2.0**-23  # of the largest sum of absolute values


class Product(NamedTuple):
    """A call in the terms of `onednn.matmul`: x [rows, channels], y [channels, features]."""

    name: str
    rows: int
    channels: int
    features: int
    after: tuple[str, ...]


PACKED = "product, packed, followed by a sum"


def products() -> Iterator[Product]:
    """Every form of product with something after it."""
    everything = ("BIAS", "BINARY_ADD", "RELU")
    yield Product("product, followed by a sum", 18, 33, 20, everything)
    yield Product("product, followed by a sum, one row", 1, 64, 96, everything)
    yield Product("product, followed by a sum, one column", 9, 64, 1, everything)
    for name in onednn.ACTIVATIONS:
        yield Product(f"product, followed by {name}", 18, 33, 20, ("BIAS", name))
    yield Product("product, RELU", 18, 33, 20, ("RELU",))


def wrong(say: Callable[[str], None]) -> str:
    """The name of the first form that differs from numpy; '' if all are right."""
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    for p in products():
        say(p.name)
        x, y = numbers(p.rows, p.channels), numbers(p.channels, p.features)
        want, most = x.astype(np.float64) @ y, abs(x) @ abs(y)
        operands, activation = [], ""
        for each in p.after:
            if each in ("BIAS", "BINARY_ADD"):
                operands.append(numbers(*(want.shape if each == "BINARY_ADD" else (p.features,))))
                want, most = want + operands[-1], most + abs(operands[-1])
            else:
                activation = each

        def both(x, y, want, *operands, after=p.after, activation=activation):
            made = onednn.matmul(x, y, after=after, operands=operands)
            return made, onednn.ACTIVATIONS[activation](want) if activation else want

        got, wanted = jax.jit(both)(x, y, want.astype(np.float32), *operands)
        if not np.max(np.abs(np.asarray(got) - np.asarray(wanted))) <= TOLERANCE * most.max():
            return p.name
    say(PACKED)
    with_packed.block(4, 64, 96, ("BIAS", "BINARY_ADD", "RELU"))  # no order is right: none is used
    return ""
