"""Convolutions and pooling that train fast on a CPU, for every JAX program.

    import cnn_jax.cpu
    cnn_jax.cpu.enable()

From then on, programs that JAX compiles for a CPU run their convolutions by the methods of this
package. Nothing else in the program changes, and other platforms are not affected. Gradients,
`vmap`, `jit`, `pmap`, sharding and export work as before, because only the last step changes: the
lowering of `lax.conv_general_dilated` (and of pooling, its gradients, and large products).

If jaxlib contains oneDNN (Linux on x86-64), float32 programs for one device call it for all but
small layers, which is by far the fastest. First a child process proves that such calls are right on
this machine, once per version and processor, in a few seconds; `status` gives the outcome.
`cnn_jax.cpu.onednn` describes what oneDNN costs: JAX's persistent compilation cache does not hold
such programs, and `jax.experimental.serialize_executable` must not be given them. Everywhere else,
and with CNN_JAX_ONEDNN=0 in the environment, the methods are written in JAX's own operations.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import jax

from cnn_jax.cpu import memory, registry
from cnn_jax.cpu import verdict as _verdict
from cnn_jax.cpu.frozen import Counts, Frozen, freeze

__all__ = [
    "Counts",
    "Frozen",
    "Status",
    "disable",
    "enable",
    "enabled",
    "freeze",
    "status",
]


def __dir__() -> list[str]:
    return __all__


class Status(NamedTuple):
    """The methods that run the convolutions of programs compiled for a CPU now, and why.

    Attributes:
        convolutions: 'oneDNN' (in float32 programs for one device, and in others by our methods
            in JAX's operations), 'methods in JAX operations', or 'XLA'.
        why: the reason, as part of a sentence.
        memory_kept: whether malloc keeps freed memory for the next step.
    """

    convolutions: str
    why: str
    memory_kept: bool

    def __str__(self) -> str:
        scope = " in float32 programs for one device" if self.convolutions == "oneDNN" else ""
        kept = "kept" if self.memory_kept else "not kept"
        return f"convolutions by {self.convolutions}{scope} ({self.why}); memory {kept}"


def enable(*, keep_memory: bool = True) -> bool:
    """Uses our lowerings for everything compiled from now on (JAX's caches are cleared once).

    If these versions have not been tried on this processor, a child process tries oneDNN now, in
    a few seconds (not if JAX may not use a CPU). If jaxlib has oneDNN and it cannot be used,
    a RuntimeWarning says so once.

    Args:
        keep_memory: whether the C library also keeps freed memory for the next step; see
            `cnn_jax.cpu.memory`.

    Returns:
        True; or False, with a RuntimeWarning and JAX unchanged, if this version of JAX keeps its
        lowering rules elsewhere.
    """
    if keep_memory:
        memory.keep()
    if registry.installed():
        return True
    done = registry.install()
    jax.clear_caches()  # programs compiled under the old rules must not be reused
    if done and _may_use_cpu():
        _verdict.warn_if_lost(stacklevel=2)
    return done


def disable() -> None:
    """Restores JAX's own lowerings and malloc's defaults, if ours are in use."""
    if registry.installed():
        memory.release()
        registry.uninstall()
        jax.clear_caches()


def status() -> Status:
    """The methods in use and why; decided now if nothing has asked before."""
    kept = memory.kept()
    if not registry.installed():
        return Status("XLA", registry.refused() or "cnn_jax.cpu.enable() is not in force", kept)
    if not _may_use_cpu():
        return Status("XLA", f"JAX may use no CPU here: its platforms are {_platforms()}", kept)
    found = _verdict.verdict()
    return Status("oneDNN" if found.works else "methods in JAX operations", found.why, kept)


def _may_use_cpu() -> bool:
    return not _platforms() or "cpu" in _platforms().split(",")


def _platforms() -> str:
    return jax.config.jax_platforms or ""  # type: ignore[attr-defined]


@contextlib.contextmanager
def enabled(on: bool = True) -> Iterator[None]:
    """Uses our lowerings within the block (or, with `on=False`, JAX's own).

    Programs that are compiled in it keep them. At its end everything is as it was before, freed
    memory too: if it was not kept, those programs take up to twice as long afterwards, unless
    `cnn_jax.cpu.memory.keep` is called.
    """
    before, kept = registry.installed(), memory.kept()
    enable() if on else disable()
    try:
        yield
    finally:
        enable(keep_memory=False) if before else disable()
        if memory.kept() != kept:
            memory.keep() if kept else memory.release()
