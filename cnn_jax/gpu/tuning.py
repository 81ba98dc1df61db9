"""Times every method for the convolutions of a function, beside XLA's own, on this device."""

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

from cnn_jax import jax_internals
from cnn_jax.gpu import methods, registry, verdicts
from cnn_jax.gpu.registry import Convolution

XLA = "xla"
MARGIN = 1.1  # a method has to be so many times as fast as XLA's own convolution
CALLS, REPEATS = 10, 5
# Largest error against XLA's own result, relative to its largest number: TF32 and bfloat16 have 10
# and 8 bits, and sums are taken in another order
TOLERANCE = {"float64": 1e-10, "float32": 5e-3, "bfloat16": 3e-2, "float16": 5e-3}


class Timing(NamedTuple):
    """One convolution, measured.

    Attributes:
        convolution: its description.
        milliseconds: method -> median time of a call; 'xla' among them.
        chosen: the method that `enable` will use; 'xla' for none of ours.
        wrong: methods whose result was not XLA's, or that failed, and why.
    """

    convolution: Convolution
    milliseconds: dict[str, float]
    chosen: str
    wrong: dict[str, str]


def tune(
    function: Callable,
    *args: Any,
    platform: str = "",
    file: str | os.PathLike[str] | None = None,
) -> list[Timing]:
    """Measures the convolutions of a function, and keeps the verdicts for `enable`.

    Convolutions that have a verdict already are not measured again. A method whose result is not
    that of XLA's own convolution is never chosen.

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
    if file is None or os.path.exists(file):
        known = verdicts.load(file)
    else:
        known = verdicts.Verdicts(jax.devices()[0].device_kind, {})
    timings = []
    found, measured = dict(known.methods), list(known.measured)
    for one in registry.convolutions_of(function, *args, platform=platform):
        if one.key in known.measured:
            continue
        timings.append(measure(one))
        measured.append(one.key)
        if timings[-1].chosen != XLA:
            found[one.key] = timings[-1].chosen
    if verdicts.save(verdicts.Verdicts(known.card, found, tuple(measured)), file) is None:
        warnings.warn(
            "cnn_jax.gpu.tune found no directory for its verdicts: they are not kept. Give a file.",
            RuntimeWarning,
            stacklevel=2,
        )
    return timings


def measure(one: Convolution, *, calls: int = CALLS, repeats: int = REPEATS) -> Timing:
    """Times one convolution by XLA and by each of its `methods.candidates`."""
    random = np.random.default_rng(0)
    x, w = (jnp.asarray(random.standard_normal(a.shape, np.float32), a.dtype) for a in one.operands)
    stock = jax.jit(
        lambda x, w: jax_internals.primitive(registry.PRIMITIVE).bind(x, w, **one.params)
    )
    want = np.asarray(stock(x, w).astype(jnp.float32))
    functions: dict[str, Callable] = {XLA: stock}
    wrong: dict[str, str] = {}
    for method in methods.candidates(one.g):
        ours = jax.jit(partial(methods.run, method, one.g, one.params))
        try:
            have = np.asarray(ours(x, w).astype(jnp.float32))
        except Exception as error:  # out of memory, or what this compiler cannot do
            wrong[method] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        off = float(np.abs(have - want).max() / max(np.abs(want).max(), 1e-30))
        if off <= TOLERANCE[str(x.dtype)]:
            functions[method] = ours
        else:
            wrong[method] = f"an error of {off:.1e} of the largest number"
    times = {name: _milliseconds(f, x, w, calls, repeats) for name, f in functions.items()}
    best = min(times, key=times.__getitem__)
    return Timing(one, times, best if times[XLA] > MARGIN * times[best] else XLA, wrong)


def _milliseconds(function: Callable, x, w, calls: int, repeats: int) -> float:
    """The median over repeats of the mean of some calls, which follow each other unwaited."""
    jax.block_until_ready(function(x, w))
    means = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            last = function(x, w)
        jax.block_until_ready(last)
        means.append(1e3 * (time.perf_counter() - start) / calls)
    return statistics.median(means)


def _platform() -> str:
    backend = jax.default_backend()
    if backend != "gpu":
        raise ValueError(
            f"cnn_jax.gpu.tune measures on a GPU, and JAX's default device here is a {backend}."
        )
    version = str(getattr(jax.devices()[0].client, "platform_version", ""))
    return "rocm" if "rocm" in version.lower() else "cuda"
