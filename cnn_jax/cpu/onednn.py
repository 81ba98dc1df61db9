"""oneDNN's kernels, which jaxlib contains and XLA does not use.

oneDNN (github.com/uxlfoundation/oneDNN) is the library that PyTorch's convolutions run on. jaxlib
for Linux on x86-64 is built with it too, and XLA can call its matrix product and its forward
convolution, by custom calls named `__onednn$matmul` and `__onednn$convolution`; but the pass that
would write these calls is off, and XLA's own kernels are compiled for AVX2 at best: on two cores
with AVX-512 a large product ran at 140 GFLOP/s by XLA's kernel and at 290 by oneDNN's.

So we write the calls ourselves, with the `backend_config` that XLA expects: the messages
OneDnnMatMulConfig and OneDnnConvolutionConfig of xla/service/cpu/onednn_config.proto, as JSON. Such
a call has its limits:

- It takes float32 only, and windows of one to three dimensions. It has no gradients, which we write
  as forward convolutions and products instead.
- Without AVX-512 it takes no batches of products (`takes_batches`), nor what it would compute by
  them (`is_batch`).
- A mistake in its description raises no error but ends the process. So `cnn_jax.cpu.proof` tries
  every form of call in a child process; if that fails, programs run without oneDNN
  (`cnn_jax.cpu.verdict`).
- The compiler cannot divide it among devices, export it, or write it to disk. So programs for
  several devices, exported ones, and those of other builds of jaxlib run without it, and JAX's
  persistent compilation cache skips programs that contain it.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.cpu.geometry import Geometry, Pairs, pad

MATMUL, CONVOLUTION = "__onednn$matmul", "__onednn$convolution"
# Activation functions that a call can end with, by the names of OneDnnFusionConfig. (SUM
# adds nothing where the result does not lie in the operand's memory; there is no hard swish.)
ACTIVATIONS: dict[str, Callable[[Any], jax.Array]] = {
    "RELU": jax.nn.relu,
    "RELU6": jax.nn.relu6,
    "SWISH": jax.nn.silu,
    "SIGMOID": jax.nn.sigmoid,
    "GELU_ERF": partial(jax.nn.gelu, approximate=False),
    "GELU_TANH": partial(jax.nn.gelu, approximate=True),
}


def _call(target: str, shape: Sequence[int], config: dict[str, Any], *operands) -> jax.Array:
    key = {MATMUL: "onednn_matmul_config", CONVOLUTION: "onednn_conv_config"}[target]
    call = jax.ffi.ffi_call(
        target,
        jax.ShapeDtypeStruct(tuple(shape), jnp.float32),
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({key: config}),
    )
    return call(*operands)


def matmul(
    x: jax.Array,
    y: jax.Array,
    transpose_x: bool = False,
    transpose_y: bool = False,
    after: Sequence[str] = (),
    operands: Sequence[jax.Array] = (),
) -> jax.Array:
    """float32 x [B.., M, K] times y [B.., K, N]: [B.., M, N]; either may come transposed.

    `after` and `operands` as in `convolution`, for products without batch axes.
    """
    rows, columns = x.shape[-1 if transpose_x else -2], y.shape[-2 if transpose_y else -1]
    config = {"transpose_a": transpose_x, "transpose_b": transpose_y}
    return _product(config, (*x.shape[:-2], rows, columns), x, y, after, operands)


def packed_matmul(
    x: jax.Array,
    y: jax.Array,
    features: int,
    after: Sequence[str] = (),
    operands: Sequence[jax.Array] = (),
) -> jax.Array:
    """float32 x [M, K] times a matrix [K, features] that lies in oneDNN's own order, flat."""
    config = {"optimization_config": {"weights_prepacked": True}}
    return _product(config, (x.shape[0], features), x, y, after, operands)


def _product(config: dict[str, Any], shape, x, y, after, operands) -> jax.Array:
    if after:
        config = {**config, "fusions": {"ops": list(after)}}
    # a bias of one axis is refused ("could not create a primitive descriptor")
    operands = [each.reshape(-1, shape[-1]) for each in operands]
    return _call(MATMUL, shape, config, x, y, *operands)


def convolution(
    x: jax.Array,
    w: jax.Array,
    strides: Sequence[int],
    padding: Pairs,
    window_dilation: Sequence[int],
    groups: int = 1,
    kernel_axes: tuple[int, int] = (-2, -1),
    after: Sequence[str] = (),
    operands: Sequence[jax.Array] = (),
) -> jax.Array:
    """float32 x [N, *space, C], w [*window, C / groups, F] -> [N, *out, F].

    Args:
        kernel_axes: axes of w that are C / groups and F; the others are the window's.
        after: what the call does with each number before it is written, in this order: 'BIAS' (adds
            an operand [F]), 'BINARY_ADD' (adds an operand of the result's shape), or one of
            `ACTIVATIONS`.
        operands: those of `after`, in its order.
    """
    rank = x.ndim - 2
    channels, features = (axis % w.ndim for axis in kernel_axes)
    spatial = [axis for axis in range(w.ndim) if axis not in (channels, features)]
    window, space = [w.shape[axis] for axis in spatial], x.shape[1:-1]
    axes = zip(space, window, strides, padding, window_dilation, strict=True)
    out = [(n + lo + hi - (k - 1) * d - 1) // s + 1 for n, k, s, (lo, hi), d in axes]
    data = {"batch_dim": 0, "feature_dim": rank + 1, "spatial_dims": list(range(1, rank + 1))}
    filters = {
        "input_feature_dim": channels,
        "output_feature_dim": features,
        "spatial_dims": spatial,
    }
    config = {
        "dims": rank + 2,
        "feature_groups": groups,
        "input": {"dims": rank + 2, "data": data},
        "output": {"dims": rank + 2, "data": data},
        "kernel": {"dims": rank + 2, "filter": filters},
        "window": {
            "strides": list(strides),
            "pad_left": [lo for lo, _ in padding],
            "pad_right": [hi for _, hi in padding],
            "window_dilations": list(window_dilation),
        },
    }
    if after:
        config["fusions"] = {"ops": list(after)}
    return _call(CONVOLUTION, (x.shape[0], *out, w.shape[features]), config, x, w, *operands)


def dot_general(x: jax.Array, y: jax.Array, dimensions, *, onednn: bool = False, **product):
    """`lax.dot_general`, by oneDNN if `onednn` is set and `takes_product` holds."""
    if not onednn or x.dtype != jnp.float32 or not takes_product(x.shape, y.shape, dimensions):
        return lax.dot_general(x, y, dimensions, **product)
    (x_axes, y_axes), (x_batch, _) = dimensions
    batch = len(x_batch)
    x_rows, x_first = _form(x.shape, x_axes, batch)  # type: ignore[misc]
    y_rows, y_first = _form(y.shape, y_axes, batch)  # type: ignore[misc]
    shape, sums = x.shape[:batch], math.prod(x.shape[axis] for axis in x_axes)
    flat = (math.prod(shape),) if shape else ()
    x_matrix, y_matrix = (math.prod(x_rows), sums), (sums, math.prod(y_rows))
    x = x.reshape(*flat, *(x_matrix[::-1] if x_first else x_matrix))
    y = y.reshape(*flat, *(y_matrix if y_first else y_matrix[::-1]))
    z = matmul(x, y, transpose_x=x_first, transpose_y=not y_first)
    return z.reshape(*shape, *x_rows, *y_rows)


def takes_product(x: Sequence[int], y: Sequence[int], dimensions) -> bool:
    """Whether a product of these shapes is one of matrices as they lie in memory.

    It is if the batch axes come first in both operands, and the contracted axes are adjacent, in
    the same order, either right after them or at the end.
    """
    (x_axes, y_axes), (x_batch, y_batch) = dimensions
    if x_batch and not takes_batches():
        return False
    leading = tuple(x_batch) == tuple(y_batch) == tuple(range(len(x_batch)))
    forms = _form(x, x_axes, len(x_batch)), _form(y, y_axes, len(x_batch))
    return leading and len(x_axes) > 0 and None not in forms


def takes_batches() -> bool:
    """Whether oneDNN may compute several products by one call on this processor.

    For AVX-512 it has a kernel that does. For AVX2 it divides the products among XLA's threads, and
    if sums are long, each of these divides its product again. They then wait for each other for
    ever, or write into each other's memory: [2, 32, 2048] times [2, 2048, 32] hung, and with the
    right one turned ended in a segmentation fault (jaxlib 0.10.2, AMD Zen 3, two cores). So did
    convolutions that it computes in this way (`is_batch`), in six of twenty processes. Single
    products are sound on both.
    """
    return has_avx512()


@cache
def has_avx512() -> bool:
    """Whether oneDNN has AVX-512 here: of the processor, and not forbidden by the environment."""
    most = [os.environ.get(f"{name}_MAX_CPU_ISA", "") for name in ("ONEDNN", "DNNL")]
    if any(
        isa and not isa.upper().startswith(("AVX512", "AVX10", "ALL", "DEFAULT")) for isa in most
    ):
        return False
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(text.split())


def _form(shape, axes, batch: int) -> tuple[tuple[int, ...], bool] | None:
    """The sizes of the remaining axes, and whether the contracted ones come before them."""
    shape, axes, rank = tuple(shape), tuple(axes), len(shape)
    if axes == tuple(range(rank - len(axes), rank)):
        return shape[batch : rank - len(axes)], False
    if axes == tuple(range(batch, batch + len(axes))):
        return shape[batch + len(axes) :], True
    return None


def fits(g: Geometry) -> bool:
    """Whether `convolve` supports it here: no gradient of a kernel, no dilated image."""
    if g.batch_groups > 1 or not 1 <= g.rank <= 3 or max(g.base_dilation) > 1:
        return False
    return takes_batches() or not is_batch(
        g.channels, g.features, g.feature_groups, g.window_dilation
    )


def is_batch(channels: int, features: int, groups: int, dilation: Sequence[int]) -> bool:
    """Whether oneDNN for AVX2 convolves by a batch of products, one for each group.

    It does so, of 220 layers that were tried, for depthwise ones over one axis, and over three if
    the window has holes (ONEDNN_VERBOSE: `gemm:jit`, jaxlib 0.10.2). See `takes_batches`.
    """
    depthwise = groups > 1 and groups == channels == features
    return depthwise and (len(dilation) == 1 or (len(dilation) == 3 and max(dilation) > 1))


def convolve(
    x: jax.Array,
    w: jax.Array,
    g: Geometry,
    after: Sequence[str] = (),
    operands: Sequence[jax.Array] = (),
    **_,
) -> jax.Array:
    """x [N, *space, C], w [*window, C / G, F] -> [N, *out, F]. Exact up to the order of one sum.

    `after` and `operands` as in `convolution`.
    """
    spans = [(k - 1) * d for k, d in zip(g.window, g.window_dilation, strict=True)]
    sides = zip(g.padding, spans, strict=True)
    # negative padding is cropping, and its kernels take no padding wider than the window
    ordinary = all(0 <= side <= span for pair, span in sides for side in pair)
    padding = g.padding if ordinary else ((0, 0),) * g.rank
    if not ordinary:
        x = pad(x, g)
    kernel_axes = (-1, -2) if g.kernel_transposed else (-2, -1)
    return convolution(
        x,
        w,
        g.strides,
        padding,
        g.window_dilation,
        g.feature_groups,
        kernel_axes,
        after,
        operands,
    )
