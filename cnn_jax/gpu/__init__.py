"""Convolutions and max pooling for which XLA is slow on a GPU, by other methods: where measured.

    import cnn_jax.gpu

    cnn_jax.gpu.tune(train_step, state, batch)  # measures what the function consists of, once
    cnn_jax.gpu.enable()                        # later programs use what was measured

XLA leaves a convolution on a GPU to cuDNN or MIOpen. Gradients of transposed, three-dimensional,
grouped and depthwise layers were reported to be many times slower than what these libraries give
other frameworks (github.com/jax-ml/jax, issues 13800, 23783, 26266, 31662). The same convolutions
can be written as products and sums, as `cnn_jax.cpu` writes them. The gradient of max pooling is a
scatter in XLA, and can be written as a sum over windows. Which is faster depends on the card, the
versions and the size of the layer; so nothing is guessed: `tune` times each method beside XLA's own
on this card, and `enable` uses a method for exactly the operations for which it was faster, by at
least `tuning.MARGIN`. Without measurements nothing changes.

The verdicts are kept in a file of the user's cache, for this card and these versions. Gradients,
`vmap`, sharding and export work as before, because only lowerings change, that of
`lax.conv_general_dilated` and that of max pooling's gradient, as in `cnn_jax.cpu`; a TPU or CPU is
not affected.
"""

import contextlib
from collections.abc import Iterator

from cnn_jax.gpu import registry
from cnn_jax.gpu.registry import GPUS
from cnn_jax.gpu.tuning import Timing, tune
from cnn_jax.gpu.verdicts import Verdicts, load

__all__ = ["GPUS", "Timing", "Verdicts", "disable", "enable", "enabled", "load", "tune"]


def __dir__() -> list[str]:
    return __all__


def enable(verdicts: Verdicts | None = None, *, platforms: tuple[str, ...] = GPUS) -> int:
    """Uses the measured methods in programs compiled from now on (JAX's caches are cleared).

    Args:
        verdicts: what to use; None for what `tune` has kept for this card.
        platforms: the platforms whose lowering changes.

    Returns:
        The number of operations that another method than XLA's is known for; with 0 nothing
        changes.
    """
    disable()
    known = load() if verdicts is None else verdicts
    if known.methods:
        registry.install(known.methods, platforms)
    return len(known.methods)


def disable() -> None:
    """Restores XLA's own methods, if ours are in use."""
    registry.uninstall()


@contextlib.contextmanager
def enabled(
    verdicts: Verdicts | None = None, *, platforms: tuple[str, ...] = GPUS
) -> Iterator[int]:
    """`enable` within the block; programs that are compiled in it keep their methods."""
    count = enable(verdicts, platforms=platforms)
    try:
        yield count
    finally:
        disable()
