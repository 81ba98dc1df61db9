"""What the processes of a run have to agree on: settings, code and versions, data and network."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax

import cnn_jax
import experiments
from cnn_jax.train import agreement, hosts
from cnn_jax.train.checkpoint import checksums, describe
from cnn_jax.typing import PyTree

# Settings that a host may have for itself: where things are there, and what only the first uses.
# All others are compared, those that cannot change the result too: with another --log_every one
# process would wait for figures that another does not ask for.
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
# What of JAX's own configuration changes numbers, or the program.
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


def check_start(recipe: Any) -> None:
    """Compares settings, versions, code and devices, as soon as the processes have met.

    Raises:
        DisagreementError: in every process, where they differ.
    """
    if hosts.several():
        start = {**settings_of(recipe), **machine(), SOURCES: source_files()}
        agreement.check("what to do", start, shared=(SOURCES,))


def settings_of(recipe: Any) -> dict[str, Any]:
    """The experiment and its settings, as flags, without those of MAY_DIFFER."""
    return {
        "the experiment": type(recipe).__name__,
        **{
            f"--{field.name}": getattr(recipe, field.name)
            for field in dataclasses.fields(recipe)
            if field.name not in MAY_DIFFER
        },
    }


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
    """The flags that count: of one that is given twice the last, in an order that does not matter.

    Where programs are written to is a host's own business. What does not begin with a dash is the
    name of a file of flags.
    """
    if text and not text.startswith("-"):
        with contextlib.suppress(OSError):
            text = Path(text).read_text(errors="replace")
    given = {flag.partition("=")[0]: flag for flag in text.split()}
    return " ".join(sorted(flag for name, flag in given.items() if "xla_dump" not in name))


def source_files() -> dict[str, str]:
    """A hash of every file of code of ours, by its name: {'cnn_jax/typing.py': '6f0e...'}."""
    files = {}
    for package in (cnn_jax, experiments):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            name = f"{root.name}/{path.relative_to(root).as_posix()}"
            # another end of lines, as Git writes on Windows, is not another program
            content = path.read_bytes().replace(b"\r\n", b"\n")
            files[name] = hashlib.blake2b(content, digest_size=6).hexdigest()
    return files


def check_experiment(experiment: Any, variables: PyTree) -> None:
    """Compares the data and the network, when they are there and before anything is compiled.

    Args:
        experiment: a `training.Experiment`.
        variables: of the network, or their shapes.

    Raises:
        DisagreementError: in every process, where they differ.
    """
    if hosts.several():
        agreement.check("data and network", parts_of(experiment, variables))


def parts_of(experiment: Any, variables: PyTree) -> dict[str, Any]:
    """The data, the network and the weights that it is given, as text and numbers."""
    given = {**(experiment.variables or {}), **experiment.learnt}
    return {
        "the run's name": experiment.name,
        "the data set's": experiment.facts,
        "the number of steps in an epoch": experiment.train.steps_per_epoch,
        "the shape of a batch": f"{experiment.image.dtype}{list(experiment.image.shape)}",
        "the figure to choose by": experiment.best,
        "the last layer": sorted(experiment.head),
        "the network's": describe(variables),
        "the checksum of the given": checksums(given),
    }


def check_state(state: PyTree) -> None:
    """Compares what each process begins with, by checksums: its own copy, made on its processor.

    Raises:
        DisagreementError: in every process, where they differ.
    """
    if hosts.several():
        agreement.check("the state to begin with", {"the checksum of the first": checksums(state)})
