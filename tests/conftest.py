"""Tests run on eight virtual CPU devices, so that every layout can be tried anywhere."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Containers often forbid Python to write bytecode, and some installers (uv) leave packages without:
# then each of the some hundred processes that tests start compiled all of JAX from its text, for 7
# of its 11 seconds. What is compiled is kept beside pytest's own cache, outside the packages.
if sys.dont_write_bytecode:
    kept = Path(__file__).parents[1] / ".pytest_cache" / "bytecode"
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(kept)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(kept)

# A shell that starts the tests in the background, or nohup, lets them ignore these, and every
# process that a test starts would inherit it.
for ignored in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(
            ignored, signal.default_int_handler if ignored == signal.SIGINT else signal.SIG_DFL
        )

# Most of the time of most tests goes into compiling programs that run for a millisecond: without
# LLVM's optimisations the suite takes half as long, and without the emitters that lower fusions by
# way of MLIR half of that. XLA ends a process that names a flag it does not take, and names stay in
# the library when flags go (0.12): a child is asked, and workers inherit the answer.
if "XLA_FLAGS" not in os.environ:
    quick = ("--xla_backend_optimization_level=0", "--xla_cpu_use_fusion_emitters=false")
    for flags in (" ".join(quick), quick[0]):
        asked = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            check=False,
        )
        if asked.returncode == 0:
            os.environ["XLA_FLAGS"] = flags
            break

# Workers of pytest-xdist share out the cores: programs that all use all of them wait for each
# other's threads, and are several times slower.
worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if worker and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    count = min(int(os.environ["PYTEST_XDIST_WORKER_COUNT"]), len(cores))
    os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % count :: count])

# Programs that call oneDNN cannot be read back from the cache below, and most tests are not about
# how a convolution is computed. Those that are switch it on: tests/cpu.
os.environ.setdefault("CNN_JAX_ONEDNN", "0")

import hypothesis  # noqa: E402
import jax  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)

# What one test has compiled another reads back, in this run and in the next. Workers have a
# directory each, for JAX does not guard its files against being read half written, and take what
# others have finished (`pytest_runtest_setup`).
user = os.getuid() if hasattr(os, "getuid") else "user"  # who may have no name
CACHES = Path(tempfile.gettempdir()) / f"cnn_jax_tests_{user}_caches"
CACHE = CACHES / (worker or "alone")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# What CI runs is repeatable: a fault that a draw of yesterday met is an `@example`, not a surprise.
# CNN_JAX_FUZZ=random draws anew.
hypothesis.settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CNN_JAX_FUZZ") != "random":
    hypothesis.settings.load_profile("repeatable")

SETTLED = 5.0  # seconds after which a file of the cache is taken to be whole
shared_at = 0.0


def pytest_runtest_setup():
    global shared_at
    if time.time() - shared_at < SETTLED:
        return
    shared_at = time.time()
    CACHE.mkdir(parents=True, exist_ok=True)
    have = {entry.name for entry in os.scandir(CACHE)}
    for other in os.scandir(CACHES):
        for entry in os.scandir(other.path) if other.path != str(CACHE) else ():
            with contextlib.suppress(OSError):  # another may take it, or away
                if entry.name not in have and entry.stat().st_mtime < shared_at - SETTLED:
                    os.link(entry.path, CACHE / entry.name)


# Where the libraries' interfaces are used, rather than their arithmetic: a good third of the tests
STACK = ("cpu", "data", "run", "train", "weights")


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).parts[0] in STACK:
            item.add_marker("stack")
