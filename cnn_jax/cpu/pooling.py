"""Pooling and its gradients as chains of shifted views.

XLA's CPU compiler runs `reduce_window` as nested loops and max-pooling's gradient,
`select_and_scatter_add`, as a scatter on one core: 1.7 s for a layer whose forward pass takes
46 ms. With one shifted, strided view of the input per window position, both fuse into a few
vectorised loops.

The gradient goes to the first of equal maxima, as in XLA, which compares a window's elements in
row-major order and keeps the earlier unless `select(earlier, later)` fails. NaNs take the same path
through the same comparisons. All axes are treated alike: window, stride and padding have an entry
for every axis of x, with 1 and 0 for batch and channels.
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax import jax_internals

MOST_TAPS = 64  # with more window positions the program becomes too long


def fits(window: tuple[int, ...]) -> bool:
    return 1 < math.prod(window) <= MOST_TAPS


def reduce_max(x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """`lax.reduce_window_max_p` on x."""
    x = _pad(x, _lowest(x.dtype), padding, base_dilation)
    views = _views(x, window_dimensions, window_strides, window_dilation)
    return _tree(jnp.maximum, [view for _, view in views])


def reduce_sum(x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    """`lax.reduce_window_sum_p` on x."""
    x = _pad(x, x.dtype.type(0), padding, base_dilation)
    views = _views(x, window_dimensions, window_strides, window_dilation)
    return _tree(jnp.add, [view for _, view in views])


def gather_selected(
    tangents,
    x,
    *,
    select_prim,
    window_dimensions,
    window_strides,
    padding,
    base_dilation,
    window_dilation,
):
    """`lax.select_and_gather_add_p`: for each window, the tangent of its largest (smallest) x."""
    worst = _worst(select_prim, x.dtype)
    x = _pad(x, worst, padding, base_dilation)
    tangents = _pad(tangents, tangents.dtype.type(0), padding, base_dilation)
    windows = window_dimensions, window_strides, window_dilation
    best, chosen = worst, tangents.dtype.type(0)
    for (_, value), (_, tangent) in zip(
        _views(x, *windows), _views(tangents, *windows), strict=True
    ):
        best = jnp.broadcast_to(best, value.shape)
        keep = select_prim.bind(best, value)
        best = jnp.where(keep, best, value)
        chosen = jnp.where(keep, chosen, tangent)
    return chosen


def scatter_selected(source, x, *, select_prim, window_dimensions, window_strides, padding):
    """`lax.select_and_scatter_add_p`: adds each window's source to its largest (smallest) x.

    First it finds the place of the winner in every window, then for every pixel of x the sum over
    the windows that contain it. A pixel's residue modulo the stride determines its possible places
    in a window, so that pixels are computed residue by residue and interleaved.
    """
    ones = (1,) * x.ndim
    padded = _pad(x, _worst(select_prim, x.dtype), padding, ones)
    views = iter(_views(padded, window_dimensions, window_strides, ones))
    _, best = next(views)
    place = jnp.zeros(best.shape, np.int32)
    for i, (_, value) in enumerate(views, start=1):
        keep = select_prim.bind(best, value)
        best = jnp.where(keep, best, value)
        place = jnp.where(keep, place, np.int32(i))

    reach = [-(-k // s) - 1 for k, s in zip(window_dimensions, window_strides, strict=True)]
    counts = [-(-n // s) for n, s in zip(padded.shape, window_strides, strict=True)]
    around = [(r, n - o, 0) for r, n, o in zip(reach, counts, source.shape, strict=True)]
    source = lax.pad(source, source.dtype.type(0), around)
    place = lax.pad(place, np.int32(-1), around)
    parts = []
    for residue in itertools.product(*map(range, window_strides)):
        total = jnp.zeros(counts, source.dtype)
        for i, tap in enumerate(itertools.product(*map(range, window_dimensions))):
            if any((t - r) % s for t, r, s in zip(tap, residue, window_strides, strict=True)):
                continue
            start = [a - t // s for a, t, s in zip(reach, tap, window_strides, strict=True)]
            limit = [a + n for a, n in zip(start, counts, strict=True)]
            won = lax.slice(place, start, limit) == i
            total = total + jnp.where(won, lax.slice(source, start, limit), 0)
        parts.append(total)
    whole = _interleave(parts, window_strides)
    crop = [
        (-lo, lo + n - size, 0)
        for (lo, _), n, size in zip(padding, x.shape, whole.shape, strict=True)
    ]
    return lax.pad(whole, whole.dtype.type(0), crop)  # negative padding crops


def _views(x, window, strides, dilation):
    """(tap, the elements at this place of every window), in row-major order."""
    out = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(x.shape, window, strides, dilation, strict=True)
    ]
    for tap in itertools.product(*map(range, window)):
        start = [t * d for t, d in zip(tap, dilation, strict=True)]
        limit = [a + (n - 1) * s + 1 for a, n, s in zip(start, out, strides, strict=True)]
        yield tap, lax.slice(x, start, limit, strides)


def _pad(x, value, padding, base_dilation):
    config = [(lo, hi, d - 1) for (lo, hi), d in zip(padding, base_dilation, strict=True)]
    return x if not any(map(any, config)) else lax.pad(x, value, config)


def _tree(combine, terms):
    total = terms[0]
    for term in terms[1:]:
        total = combine(total, term)
    return total


def _lowest(dtype):
    return np.array(-np.inf, dtype)


def _worst(select_prim, dtype):
    return np.array(-np.inf if select_prim is jax_internals.primitive("ge") else np.inf, dtype)


def _interleave(parts, strides):
    """One array per residue, those of the last axis varying fastest -> the array of all pixels."""
    for axis in reversed(range(len(strides))):
        s = strides[axis]
        if s == 1:
            continue
        merged = []
        for i in range(0, len(parts), s):
            y = jnp.stack(parts[i : i + s], axis + 1)
            merged.append(y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :]))
        parts = merged
    return parts[0]
