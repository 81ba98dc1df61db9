"""Compiler options that are known to help on GPUs, for the entry points to set.

XLA reads them from XLA_FLAGS when its first backend starts, and aborts the process on one that it
does not know. So they are set before, and only if JAX will choose a GPU. The user can override
each: an option that XLA_FLAGS already names is left alone.
"""

import os
from collections.abc import Mapping, MutableMapping, Sequence
from importlib import metadata

import jax
from absl import flags

# "GPU performance tips", docs.jax.dev/en/latest/gpu_performance_tips.html, as of November 2026;
# NVIDIA's own JAX images have the first (docs.nvidia.com/jax-toolbox/environment-variables).
OPTIONS = {
    # overlap all-reduces of gradients with computation that does not need them
    "xla_gpu_enable_latency_hiding_scheduler": "true",
    # Triton's matrix products, which fuse with neighbouring operations, wherever XLA may use them
    "xla_gpu_triton_gemm_any": "true",
}

# Runs that repeat to the last bit: XLA then leaves out operations whose sums depend on the order in
# which threads arrive, and does not choose algorithms by timing them, which may end otherwise in
# the next process. jaxlib 0.8 to 0.12 have it; a CPU and a TPU repeat without.
REPEATABLE = {"xla_gpu_deterministic_ops": "true"}

GPU_PLATFORMS = ("cuda", "gpu", "rocm")

DETERMINISTIC = flags.DEFINE_bool(
    "deterministic",
    False,
    "Repeat runs on a GPU to the last bit, at some cost in speed; those on a CPU or TPU do anyway.",
)


def set_gpu_options(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Adds OPTIONS to XLA_FLAGS if JAX will run on a GPU, and with --deterministic REPEATABLE. Call
    it before JAX is first used.

    Returns:
        The options added: [] without a GPU, or if the user has set all of them.
    """
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    if not gpu_expected(platforms, _plugins()):
        return []
    wanted = OPTIONS
    if DETERMINISTIC.present and DETERMINISTIC.value:
        wanted = OPTIONS | REPEATABLE
    existing = environ.get("XLA_FLAGS", "").split()
    added = _missing(wanted, existing)
    environ["XLA_FLAGS"] = " ".join([*existing, *added])
    return added


def deterministic(xla_flags: str) -> str:
    """These XLA_FLAGS with those of --deterministic."""
    given = xla_flags.split()
    return " ".join([*given, *_missing(REPEATABLE, given)])


def _missing(wanted: Mapping[str, str], given: Sequence[str]) -> list[str]:
    chosen = {flag.lstrip("-").partition("=")[0] for flag in given}
    return [f"--{name}={value}" for name, value in wanted.items() if name not in chosen]


def gpu_expected(platforms: str | None, plugins: list[str]) -> bool:
    """Whether JAX will look for a GPU, determined without starting JAX.

    Args:
        platforms: value of `jax_platforms` or JAX_PLATFORMS: 'cuda,cpu'; None or '' for any.
        plugins: names of JAX's installed plug-ins, such as 'jax_cuda12_plugin' or 'xla_cuda12'.
    """
    if platforms:
        return any(name.strip() in GPU_PLATFORMS for name in platforms.split(","))
    return any("cuda" in name or "rocm" in name for name in plugins)


def _plugins() -> list[str]:
    return [entry.name for entry in metadata.entry_points(group="jax_plugins")]
