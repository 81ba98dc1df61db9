"""Times every method for the operations of a function, beside XLA's own, on this device.

A convolution takes tens of microseconds on a GPU, and starting a program about a hundred. So each
program makes many calls, of which each needs the one before, and the whole is timed.
"""

import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.gpu import registry, verdicts
from cnn_jax.gpu.operations import Operation

XLA = "xla"
MARGIN = 1.1  # a method has to be so many times as fast as XLA's own
CALLS, REPEATS = 20, 5  # calls in one program; programs, of whose times the median counts
# Largest error against XLA's own result, relative to its largest number: TF32 and bfloat16 have 10
# and 8 bits, and sums are taken in another order
TOLERANCE = {"float64": 1e-10, "float32": 5e-3, "bfloat16": 3e-2, "float16": 5e-3}


class Timing(NamedTuple):
    """One operation, measured.

    Attributes:
        operation: its description.
        milliseconds: method -> median time of a call; 'xla' among them.
        chosen: the method that `enable` will use; 'xla' for none of ours.
        wrong: methods whose result was not XLA's, or that failed, and why.
    """

    operation: Operation
    milliseconds: dict[str, float]
    chosen: str
    wrong: dict[str, str]


def tune(
    function: Callable,
    *args: Any,
    platform: str = "",
    file: str | os.PathLike[str] | None = None,
) -> list[Timing]:
    """Measures the operations of a function, and keeps the verdicts for `enable`.

    They are its convolutions, the convolutions' gradients and those of max pooling. What has a
    verdict already is not measured again. A method whose result is not XLA's is never chosen.

    Args:
        function: a function of arrays, such as a train step.
        *args: its arguments: arrays or `jax.ShapeDtypeStruct`s. It is lowered, not run.
        platform: of the device; '' for 'cuda' or 'rocm', whichever this GPU is.
        file: where verdicts are kept; None for the user's cache.

    Raises:
        ValueError: JAX's default device is no GPU, and no platform is given.
    """
    platform = platform or _platform()
    registry.uninstall()
    measured = _known(file).measured
    timings, kept = [], True
    for one in registry.operations_of(function, *args, platform=platform):
        if one.key not in measured:
            timings.append(measure(one))
            # each at once, for it takes seconds: who stops here goes on later
            kept = keep(timings[-1], file)
    if not kept:
        warnings.warn(
            "cnn_jax.gpu.tune found no directory for its verdicts: they are not kept. Give a file.",
            RuntimeWarning,
            stacklevel=2,
        )
    return timings


def keep(timing: Timing, file: str | os.PathLike[str] | None = None) -> bool:
    """Adds a verdict to those that `enable` uses; whether there was a place for it."""
    known, key = _known(file), timing.operation.key
    found = {other: method for other, method in known.methods.items() if other != key}
    if timing.chosen != XLA:
        found[key] = timing.chosen
    measured = tuple(dict.fromkeys((*known.measured, key)))
    return verdicts.save(verdicts.Verdicts(known.card, found, measured), file) is not None


def _known(file: str | os.PathLike[str] | None) -> verdicts.Verdicts:
    if file is None or os.path.exists(file):
        return verdicts.load(file)
    return verdicts.Verdicts(jax.devices()[0].device_kind, {})


def measure(one: Operation, *, calls: int = CALLS, repeats: int = REPEATS) -> Timing:
    """Times an operation by XLA and by each of its `candidates`.

    Args:
        one: the operation.
        calls: calls in one program.
        repeats: runs of each program, of whose times the median counts.
    """
    return _timed(one, _programs(one, calls=calls), calls, repeats)


def _programs(one: Operation, *, calls: int) -> dict[str, Any]:
    """method -> its compiled program, or why there is none."""
    functions: dict[str, Callable] = {XLA: one.by_xla}
    functions |= {method: partial(one.run, method) for method in one.candidates()}
    programs: dict[str, Any] = {}
    for method, function in functions.items():
        try:
            programs[method] = compiled(function, *one.operands, calls=calls)
        except Exception as error:  # what this compiler cannot do
            if method == XLA:
                raise
            programs[method] = _words(error)
    return programs


def compiled(function: Callable, x: Any, w: Any, *, calls: int) -> Callable:
    """A program of so many calls of `function(x, w)`: (x, w) -> (x, w, result of the last call).

    The calls are a loop. Each of them waits for the one before, since an element of x and one of w
    are replaced by the first element of its result, if that is near the largest number of its
    dtype: a compiler cannot know that it is not. The program takes the memory of both, which it
    returns unchanged.
    """
    result = jax.eval_shape(function, x, w)

    def call(_: Any, carried: Any) -> Any:
        x, w, _y = carried
        y = function(x, w)
        return _after(x, y), _after(w, y), y

    def loop(x, w):
        return lax.fori_loop(0, calls, call, (x, w, jnp.zeros(result.shape, result.dtype)))

    return jax.jit(loop, donate_argnums=(0, 1)).lower(x, w).compile()


def _after(x: jax.Array, y: jax.Array) -> jax.Array:
    """x, which a compiler must believe to depend on y."""
    origin, one = (0,) * x.ndim, (1,) * x.ndim
    first = lax.slice(y, (0,) * y.ndim, (1,) * y.ndim).reshape(one)
    own = lax.slice(x, origin, one)
    huge = first > jnp.finfo(y.dtype).max / 2
    return lax.dynamic_update_slice(x, jnp.where(huge, first.astype(x.dtype), own), origin)


def _timed(one: Operation, programs: dict[str, Any], calls: int, repeats: int) -> Timing:
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(a.shape, np.float32).astype(a.dtype) for a in one.operands)
    want, wrong = None, {}
    times: dict[str, float] = {}
    for method, program in programs.items():
        if isinstance(program, str):
            wrong[method] = program
            continue
        on_device = jnp.asarray(x), jnp.asarray(w)
        try:
            time_of_one, y = milliseconds(program, *on_device, calls=calls, repeats=repeats)
        except Exception as error:  # out of memory
            if method == XLA:
                raise
            wrong[method] = _words(error)
            continue
        have = np.asarray(y.astype(jnp.float32))
        if want is None:
            want = have
        off = float(np.abs(have - want).max() / max(np.abs(want).max(), 1e-30))
        if method == XLA or off <= TOLERANCE[str(x.dtype)]:
            times[method] = time_of_one
        else:
            wrong[method] = f"an error of {off:.1e} of the largest number"
    best = min(times, key=times.__getitem__)
    return Timing(one, times, best if times[XLA] > MARGIN * times[best] else XLA, wrong)


def milliseconds(program: Callable, x, w, *, calls: int, repeats: int) -> tuple[float, Any]:
    """The time of a call, the median of some runs of a `compiled` program; and its result."""
    x, w, y = jax.block_until_ready(program(x, w))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        x, w, y = jax.block_until_ready(program(x, w))
        times.append(1e3 * (time.perf_counter() - start) / calls)
    return statistics.median(times), y


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def _platform() -> str:
    backend = jax.default_backend()
    if backend != "gpu":
        raise ValueError(
            f"cnn_jax.gpu.tune measures on a GPU, and JAX's default device here is a {backend}."
        )
    version = str(getattr(jax.devices()[0].client, "platform_version", ""))
    return "rocm" if "rocm" in version.lower() else "cuda"
