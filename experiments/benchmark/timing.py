"""Timing for the benchmarks: alternating repeats, medians, ratios, and the machine."""

import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata

from cnn_jax import strict_json
from cnn_jax.stores import local_path

# Threads of the last contender's pool may still spin, waiting for work, and take a core from the
# next contender. OpenMP's do so for up to 200 ms (KMP_BLOCKTIME's default), which made DeepLabV3's
# evaluation take 271 ms after a turn of PyTorch's instead of 75 ms.
PAUSE = 0.3  # seconds
LONG = 3.0  # seconds; calls that take longer need no warm-up
# Threads that have slept may all wake on one core, while the other idles, and stay there for some
# calls: DenseNet's 1x1 took 5.6 ms in turns of two calls, and 2.8 in turns of forty; whole steps of
# ResNet-50, each in a separate process, took 0.5 s or, in the first second, 1.0 s.
SETTLE = 0.1  # seconds of calls that are not counted


def alternate(
    functions: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    seconds: float = math.inf,
    pause: float = PAUSE,
    settle: float = SETTLE,
) -> dict[str, list[float]]:
    """Seconds of every call; the functions take turns so that all see the same disturbances.

    A turn is one or more warm-up calls and one timed call: steps of a training run follow steps of
    their own, and find memory, caches and threads as those left them.

    Args:
        functions: name -> a call that returns when its work is done.
        repeats: number of timed rounds.
        seconds: total time of a function's calls after which it sits out further rounds.
        pause: seconds of sleep before each turn, see PAUSE.
        settle: seconds of warm-up calls in each turn, see SETTLE.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            if times[name] and sum(times[name]) > seconds:
                continue
            time.sleep(pause)
            begun = time.perf_counter()
            while not times[name] or times[name][-1] < LONG:
                function()
                if time.perf_counter() - begun >= settle:
                    break
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def geometric_mean(values) -> float:
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def matmul_peak(size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of JAX's float32 product of two [size, size] matrices, for comparison."""
    import jax  # not above: PyTorch's processes import this module

    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    times = alternate({"product": lambda: product(a).block_until_ready()}, repeats=repeats)
    return 2 * size**3 / min(times["product"])


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, object]:
    """The processor, cores and versions that timings depend on."""
    versions = {}
    for package in ("jax", "jaxlib", "flax", "torch", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        **versions,
    }


def write_result(workdir: str | None, result: Mapping[str, object]) -> None:
    """Writes `result` to result.json in `workdir`, which is created if missing; '': not at all."""
    if not workdir:
        return
    folder = local_path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(strict_json.dumps(result, indent=2) + "\n")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            facts = [line.split(":", 1) for line in lines if ":" in line]
    except OSError:
        return platform.processor()
    named = {key.strip(): value.strip() for key, value in facts}
    vector = [f for f in ("avx512f", "avx2", "avx") if f in named.get("flags", "").split()]
    return " ".join([named.get("model name", platform.processor()), *vector[:1]])
