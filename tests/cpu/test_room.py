"""A program's temporary block lies in one place, whatever else a step leaves in the heap."""

import json
import os
import platform
import subprocess
import sys

import jax
import pytest

from cnn_jax.cpu import memory, room

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

# Six steps whose first one keeps 12 MiB, which it takes while the temporary block is in use
PROGRAM = """
import json
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from cnn_jax.cpu import memory

def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))

kept = []
def keep(value):
    if not kept:
        kept.append(np.ones(12 * 2**20, np.uint8))
    return np.float32(1)

def step(x, w):
    y = x @ w
    factor = io_callback(keep, jax.ShapeDtypeStruct((), np.float32), y[0, 0])
    return (y * factor).sum()

memory.keep()
memory.wait_for_programs()
memory.LEAST_SECONDS = 0.0  # the program is small
x, w = jnp.ones((2**19, 4)), jnp.ones((4, 48))
f = jax.jit(step).lower(x, w).compile()
before = resident()
sums = []
for _ in range(6):
    sums.append(float(f(x, w)))
    memory.settle()
needed = f.memory_analysis().temp_size_in_bytes + kept[0].nbytes
print(json.dumps({"took": resident() - before, "needed": needed, "sums": sums}))
"""


@needs_glibc
def test_steps_take_one_temporary_block():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["needed"] > 90 * 2**20
    assert found["took"] < 1.3 * found["needed"]
    assert len(set(found["sums"])) == 1


@needs_glibc
def test_what_is_held_is_address_space_and_is_given_back(monkeypatch):
    monkeypatch.setattr(memory, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(memory, "LEAST_LOWERING", 0.0)
    memory.keep()
    try:
        jax.monitoring.record_event_duration_secs(memory.COMPILED, 2.0)
        first, before = room.held(), _resident()
        assert first
        for _ in range(20):
            jax.monitoring.record_event_duration_secs(memory.LOWERED, 2.0)
            assert not room.held()  # the compiler may use these addresses
            jax.monitoring.record_event_duration_secs(memory.COMPILED, 2.0)
        assert room.held() <= first + 2 * room.LARGE  # no more with every compilation
        assert _resident() - before < 16 * 2**20
        trimmed = []
        monkeypatch.setattr(memory, "trim", lambda: trimmed.append(True))
        monkeypatch.setattr(room, "_resident", lambda: next(after) * room.LARGE)
        usual = [100, 99, 99, 99]
        after = iter([*usual, 101, 100, 100, *[102, 100] * 20])
        for _ in usual:
            memory.settle()
        assert len(trimmed) == 1
        memory.settle()  # another block
        assert len(trimmed) == 2
        memory.settle()
        memory.settle()
        assert len(trimmed) == 2
        for _ in range(40):
            memory.settle()
        assert len(trimmed) == room.TIMES  # and no more: each costs time
    finally:
        memory.release()
    assert not room.held()
    jax.monitoring.record_event_duration_secs(memory.COMPILED, 2.0)
    assert not room.held()  # malloc's own rules are back in force


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
