"""Tests run on eight virtual CPU devices, so that every layout can be tried anywhere."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)
