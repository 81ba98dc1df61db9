"""Tests run on eight virtual CPU devices, so that every layout can be tried anywhere."""

import getpass
import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)

# Compiling takes most of the time of most tests: what one test has compiled another reads back,
# in this run and in the next.
jax.config.update(
    "jax_compilation_cache_dir",
    str(Path(tempfile.gettempdir()) / f"cnn_jax_tests_{getpass.getuser()}"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
