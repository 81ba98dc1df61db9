"""Tests run on eight virtual CPU devices, so that every layout can be tried anywhere."""

import getpass
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time of most tests goes into compiling programs that run for a millisecond: without
# LLVM's optimisations the suite takes half as long. What XLA itself does to a program is the same.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

jax.config.update("jax_num_cpu_devices", 8)

# What one test has compiled another reads back, in this run and in the next.
jax.config.update(
    "jax_compilation_cache_dir",
    str(Path(tempfile.gettempdir()) / f"cnn_jax_tests_{getpass.getuser()}"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
