"""Transposed convolutions and input gradients of strided ones, without multiplying by zeros.

With base dilation d, there are d - 1 zeros between the pixels of x. So an output pixel meets only
every d-th tap, and which ones depends on its position modulo d alone. The output therefore splits
into d phases per axis (Shi et al. 2016, "Is the deconvolution layer the same as a
convolutional layer?", arXiv 1609.07009), each an ordinary undilated convolution of x with a part
of the kernel; interleaving the phases gives the answer.

For one axis, with stride s, window dilation r and padding before of p: output o and tap k meet
pixel (o * s + k * r - p) / d if that is a whole number.
"""

import itertools
import math

import jax
import jax.numpy as jnp

from cnn_jax.cpu import phases
from cnn_jax.cpu.geometry import Geometry


def fits(g: Geometry) -> bool:
    return max(g.base_dilation, default=1) > 1 and g.batch_groups == 1


def convolve(x: jax.Array, w: jax.Array, g: Geometry, convolution) -> jax.Array:
    """x [N, *space, C], w [*window, C / G, F] -> [N, *out, F].

    `convolution(x, w, strides, padding, window_dilation)` does the undilated part. Exact up to
    the order of one sum.
    """
    axes = [_phases(*axis) for axis in zip(*_per_axis(g), strict=True)]
    counts = [len(axis) for axis in axes]
    sizes = [math.ceil(n / q) for n, q in zip(g.out, counts, strict=True)]
    parts = []
    for phase in itertools.product(*axes):
        if None in phase:  # no tap meets a pixel here
            part = jnp.zeros((g.batch, *sizes, g.features), x.dtype)
        else:
            taps = tuple(p[0] for p in phase)
            padding = [p[1] for p in phase]
            strides = [p[2] for p in phase]
            dilation = [p[3] for p in phase]
            part = convolution(x, w[taps], strides, padding, dilation)
        parts.append(part)
    y = parts[0]
    if len(parts) > 1:
        y = phases.join(jnp.stack(parts).reshape(*counts, *y.shape), g.rank)
    return y[(slice(None), *map(slice, g.out))]


def _per_axis(g: Geometry):
    return g.space, g.window, g.out, g.strides, g.padding, g.base_dilation, g.window_dilation


def _phases(size, window, out, stride, padding, base, dilation):
    """For each phase of one axis: (slice of taps, padding, stride, window dilation) or None."""
    count = base // math.gcd(stride, base)
    per_phase = math.ceil(out / count)
    new_stride = stride * count // base
    step = base // math.gcd(dilation, base)  # taps of one phase are this far apart
    new_dilation = dilation * step // base
    found: list[tuple[slice, tuple[int, int], int, int] | None] = []
    for phase in range(count):
        offset = phase * stride - padding[0]
        meets = (k for k in range(min(step, window)) if (offset + k * dilation) % base == 0)
        first = next(meets, None)
        if first is None:
            found.append(None)
            continue
        taps = len(range(first, window, step))
        before = -((offset + first * dilation) // base)
        seen = (per_phase - 1) * new_stride + (taps - 1) * new_dilation + 1
        after = seen - before - size
        found.append((slice(first, None, step), (before, after), new_stride, new_dilation))
    return found
