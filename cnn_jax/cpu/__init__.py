"""Convolutions and pooling that train fast on a CPU, for every JAX program.

    import cnn_jax.cpu
    cnn_jax.cpu.enable()

From then on, programs that JAX compiles for a CPU run their convolutions by the methods of this
package: nothing else in the program changes, and other platforms are not touched. Gradients,
`vmap`, `jit`, `pmap`, sharding and export work as before, because only the last step changes, the
translation of `lax.conv_general_dilated` (and of pooling's gradients, and large products) to the
compiler.

Where jaxlib carries oneDNN (Linux on x86-64), float32 programs for one device call it for all but
small layers, which is the fastest by far. `cnn_jax.cpu.onednn` says what that costs: JAX's
persistent compilation cache does not hold such programs, and
`jax.experimental.serialize_executable` must not be given them. Everywhere else, and with
CNN_JAX_ONEDNN=0 in the environment, all is written in JAX's own operations.
"""

import contextlib
from collections.abc import Iterator

import jax

from cnn_jax.cpu import memory, registry

__all__ = ["disable", "enable", "enabled"]


def enable(*, keep_memory: bool = True) -> bool:
    """Uses our lowerings for everything compiled from now on (JAX's caches are cleared once).

    Args:
        keep_memory: also tell the C library to keep freed memory for the next step; see
            `cnn_jax.cpu.memory`.

    Returns:
        True; or False, with a RuntimeWarning and JAX as it was, if this version of JAX keeps its
        lowering rules elsewhere.
    """
    if keep_memory:
        memory.keep()
    if registry.installed():
        return True
    done = registry.install()
    jax.clear_caches()  # what was compiled under the old rules must not be reused
    return done


def disable() -> None:
    """Restores JAX's own lowerings and malloc's defaults; nothing where ours are not in use."""
    if registry.installed():
        memory.release()
        registry.uninstall()
        jax.clear_caches()


@contextlib.contextmanager
def enabled(on: bool = True) -> Iterator[None]:
    """Within the block our lowerings are in use (or, with `on=False`, JAX's own).

    What was compiled in it keeps them. At its end memory is given back, as by `disable`: who goes
    on to run what was compiled calls `cnn_jax.cpu.memory.keep` first, or it takes up to twice as
    long.
    """
    before = registry.installed()
    enable() if on else disable()
    try:
        yield
    finally:
        enable() if before else disable()
