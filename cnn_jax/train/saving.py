"""When a training run saves its state, and what it saves beside it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from cnn_jax.train.checkpoint import Checkpoints


class Saving(NamedTuple):
    """The checkpoints of a training run.

    Attributes:
        checkpoints: where they are kept.
        every: steps between checkpoints; 0: only at the end. Each new evaluation is saved too.
        meta: JSON saved with every state.
    """

    checkpoints: Checkpoints
    every: int = 0
    meta: Mapping[str, Any] = MappingProxyType({})
