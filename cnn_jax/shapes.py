"""Shapes and types of arguments: checked by chex while tracing, reported in one line.

with shapes.wanted("area takes boxes [..., 4]", boxes=boxes) as chex:
    chex.assert_axis_dimension(boxes, -1, 4)

Chex is imported by the first check. Where it is not installed, as on a machine that has JAX and
Flax alone, nothing is checked: the message of a wrong shape is then JAX's.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def wanted(what: str, **arguments: Any) -> Iterator[Any]:
    """Gives chex, and turns its failed assertion into an error: what was wanted, and what came.

    Args:
        what: beginning of the message: the function, and what it takes.
        **arguments: arrays, and lists of arrays, whose shapes and types the message names. Those
            that are None are left out.

    Raises:
        ValueError: an assertion within the block failed.
    """
    try:
        yield _chex()
    except AssertionError:
        came = ", ".join(f"{k} {_shape(v)}" for k, v in arguments.items() if v is not None)
        raise ValueError(f"{what}; got {came}.") from None


def _chex() -> Any:
    try:
        import chex
    except ModuleNotFoundError:
        return _Unchecked()
    return chex


class _Unchecked:
    """Takes every assertion of chex for true."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _shape(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_shape, value)) + ")"
    if not hasattr(value, "shape"):
        return type(value).__name__
    return f"{list(value.shape)} {value.dtype}"
