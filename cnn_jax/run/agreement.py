"""Checks that the processes of a run agree on settings, code and versions, data and network."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

import cnn_jax
from cnn_jax.plugins import loaded
from cnn_jax.train import agreement, hosts
from cnn_jax.train.contents import checksums, describe
from cnn_jax.typing import PyTree

# Settings that may differ between hosts: local paths, and what only process 0 uses. All others are
# compared, even those that cannot change the result: with another `log_every` one process would
# wait for metrics that another does not ask for.
MAY_DIFFER = frozenset(
    {
        "data_dir",
        "workers",
        "compilation_cache",
        "coordinator",
        "coordinator_bind_address",
        "process_count",
        "process_id",
        "connect_timeout",
        "figures",
        "interrupted_status",
        "workdir",
        "resume",
    }
)
PACKAGES = (
    *("cnn-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_dtypes"),
    "grain",  # the order of the examples
)
# JAX's own options that change numbers, or the program.
JAX_OPTIONS = (
    "jax_allow_f16_reductions",
    "jax_compiler_enable_remat_pass",
    "jax_cpu_collectives_implementation",
    "jax_debug_infs",
    "jax_debug_nans",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_enable_custom_prng",
    "jax_enable_x64",
    "jax_exec_time_optimization_effort",
    "jax_high_dynamic_range_gumbel",
    "jax_memory_fitting_effort",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_optimization_level",
    "jax_random_seed_offset",
    "jax_softmax_custom_jvp",
    "jax_threefry_gpu_kernel_lowering",
    "jax_threefry_partitionable",
    "jax_use_shardy_partitioner",
)
# Options of compilers and libraries beneath JAX.
ENVIRONMENT = ("LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
SOURCES = "the source file"


def check_start(recipe: Any, sources: Sequence[ModuleType] = ()) -> None:
    """Compares settings, versions, code and devices, as soon as the processes have met.

    Args:
        recipe: recipe of the run.
        sources: packages, besides cnn_jax, whose code must be the same.

    Raises:
        DisagreementError: in every process, if they differ.
    """
    if hosts.several():
        own = {**settings_of(recipe), **machine(), **plugin_files()}
        start = {**own, SOURCES: source_files(sources)}
        agreement.check("what to do", start, shared=(SOURCES,))


def settings_of(recipe: Any) -> dict[str, Any]:
    """The experiment and its settings, without those of MAY_DIFFER."""
    return {
        "the experiment": type(recipe).__name__,
        **{
            f"{field.name}=": getattr(recipe, field.name)
            for field in dataclasses.fields(recipe)
            if field.name not in MAY_DIFFER
        },
    }


def plugin_files() -> dict[str, Any]:
    """The content of each plug-in that is loaded: it is code of the run, in no package of ours."""
    return {f"the plug-in {each.name}": each.digest or each.version for each in loaded()}


def machine() -> dict[str, Any]:
    """Versions, JAX's configuration, and the devices of this process."""
    versions = {"the version of Python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[f"the version of {package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[f"the version of {package}"] = "not installed"
    return {
        **versions,
        **{name.upper(): str(getattr(jax.config, name, None)) for name in JAX_OPTIONS},
        **{name: os.environ.get(name, "") for name in ENVIRONMENT},
        "XLA_FLAGS": _xla_flags(os.environ.get("XLA_FLAGS", "").strip()),
        "the platform": jax.default_backend(),
        "the number of devices": jax.local_device_count(),
        "the number of processes": jax.process_count(),
    }


def _xla_flags(text: str) -> str:
    """The flags that count, sorted; for a flag that is given twice, the last.

    Where XLA dumps its programs may differ. A text that does not begin with a dash is the name of a
    file of flags.
    """
    if text and not text.startswith("-"):
        with contextlib.suppress(OSError):
            text = Path(text).read_text(errors="replace")
    given = {flag.partition("=")[0]: flag for flag in text.split()}
    return " ".join(sorted(flag for name, flag in given.items() if "xla_dump" not in name))


def source_files(more: Sequence[ModuleType] = ()) -> dict[str, str]:
    """A hash of every source file of cnn_jax, and of `more` packages, by its name:
    {'cnn_jax/typing.py': '6f0e...'}."""
    files = {}
    for package in (cnn_jax, *more):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            name = f"{root.name}/{path.relative_to(root).as_posix()}"
            # Git's line endings on Windows do not make it another program
            content = path.read_bytes().replace(b"\r\n", b"\n")
            files[name] = hashlib.blake2b(content, digest_size=6).hexdigest()
    return files


def check_experiment(experiment: Any, variables: PyTree) -> None:
    """Compares the data and the network, before anything is compiled.

    Args:
        experiment: an `Experiment`.
        variables: variables of the network, or their shapes.

    Raises:
        DisagreementError: in every process, if they differ.
    """
    if hosts.several():
        agreement.check("data and network", parts_of(experiment, variables))


def parts_of(experiment: Any, variables: PyTree) -> dict[str, Any]:
    """The data, the network and its given weights, as text and numbers."""
    given = {**(experiment.variables or {}), **experiment.learnt}
    return {
        "the run's name": experiment.name,
        "the data set's": experiment.facts.to_json(),
        "the number of steps in an epoch": experiment.train.steps_per_epoch,
        "the shape of a batch": f"{experiment.image.dtype}{list(experiment.image.shape)}",
        "the figure to choose by": experiment.best,
        "the last layer": sorted(experiment.head),
        "the network's": describe(variables),
        "the checksum of the given": checksums(given),
    }


def check_state(state: PyTree) -> None:
    """Compares the initial states by checksums: each process has made its own copy.

    Raises:
        DisagreementError: in every process, if they differ.
    """
    if hosts.several():
        agreement.check("the state to begin with", {"the checksum of the first": checksums(state)})
