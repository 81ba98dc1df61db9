"""What malloc keeps, what is given back, and when a program's temporary memory is free."""

import os
import platform
import subprocess
import sys

import jax
import numpy as np
import pytest

from cnn_jax.cpu import memory

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# Bytes that malloc has given out after each call, of which one needs 4 MiB for itself
PROGRAM = """
import ctypes, sys
import jax
import jax.numpy as jnp
from cnn_jax.cpu import memory

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
memory.keep()
memory.wait_for_programs()
f = jax.jit(lambda x: jnp.sort(jnp.sin(x))[0]).lower(jnp.ones(2**20)).compile()
assert f.memory_analysis().temp_size_in_bytes >= 2**22
x = jnp.ones(2**20)
x.block_until_ready()
before = libc.mallinfo2().uordblks
for _ in range(5):
    f(x)
    print((libc.mallinfo2().uordblks - before) >> 20)
"""


@needs_glibc
def test_what_a_compilation_leaves_is_given_back(monkeypatch):
    given = []
    monkeypatch.setattr(memory, "trim", lambda: given.append(True))
    memory.keep()
    try:
        jax.monitoring.record_event_duration_secs(memory.COMPILED, memory.LEAST_SECONDS / 2)
        jax.monitoring.record_event_duration_secs("/another/event", 100.0)
        assert not given  # a small program is not worth it
        monkeypatch.setattr(memory, "LEAST_SECONDS", 0.0)
        jax.jit(lambda x: x * 3 + 1).lower(np.ones(7, np.float32)).compile()
        assert given  # JAX still tells by this name
    finally:
        memory.release()
    given.clear()
    jax.monitoring.record_event_duration_secs(memory.COMPILED, 100.0)
    assert not given  # malloc's own rules are back in force


@needs_glibc
def test_trim_gives_memory_back():
    assert memory.trim()


@pytest.mark.skipif(
    tuple(map(int, (platform.libc_ver()[1] or "0").split("."))) < (2, 33),
    reason="mallinfo2 is glibc's since 2.33",
)
@needs_glibc
def test_a_program_has_freed_its_temporary_memory_when_its_call_returns():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert max(map(int, done.stdout.split())) < 2  # MiB
