"""How each primitive of JAX maps intervals of its operands to those of its results.

Functions of one operand take (its interval, shapes of the operands, shape of the result,
parameters of the primitive).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cnn_jax.analysis.intervals import EMPTY_HIGH, EMPTY_LOW, Interval, Known, united

# Primitives that mix their whole operand, whatever its shape.
MIXING = {"while", "sort", "fft", "top_k", "triangular_solve", "custom_call", "ragged_dot"}


def _window(known, out, *, size, stride=1, dilation=1, before=0, base_dilation=1) -> Interval:
    """A sliding window: output i sees (i * stride + k * dilation - before) / base_dilation."""
    place = np.arange(out)[:, None] * stride + np.arange(size) * dilation - before  # [out, size]
    source, off = np.divmod(place, base_dilation)
    return known.at(source, off == 0)


def _convolution(known, shapes, out, params) -> Interval:
    numbers = params["dimension_numbers"]
    if known.axis is None:
        return known
    if known.axis == numbers.lhs_spec[0]:
        return known.moved(numbers.out_spec[0])
    if known.axis == numbers.lhs_spec[1]:
        return known.everywhere()
    space = numbers.lhs_spec[2:].index(known.axis)
    axis = numbers.out_spec[2 + space]
    return _window(
        known,
        out[axis],
        size=shapes[1][numbers.rhs_spec[2 + space]],
        stride=params["window_strides"][space],
        dilation=params["rhs_dilation"][space],
        before=params["padding"][space][0],
        base_dilation=params["lhs_dilation"][space],
    ).moved(axis)


def _reduce_window(known, shapes, out, params) -> Interval:
    axis = known.axis
    if axis is None:
        return known
    return _window(
        known,
        out[axis],
        size=params["window_dimensions"][axis],
        stride=params["window_strides"][axis],
        dilation=params["window_dilation"][axis],
        before=params["padding"][axis][0],
        base_dilation=params["base_dilation"][axis],
    )


def _reduce(known, shapes, out, params) -> Interval:
    if known.axis in params["axes"]:
        return known.everywhere()
    return _without(known, params["axes"])


def _without(known: Interval, removed: Sequence[int]) -> Interval:
    if known.axis is None:
        return known
    if known.axis in removed:
        return known.everywhere()
    return known.moved(known.axis - sum(axis < known.axis for axis in removed))


def _broadcast(known, shapes, out, params) -> Interval:
    if known.axis is None:
        return known
    axis = params["broadcast_dimensions"][known.axis]
    return known.moved(axis) if out[axis] == len(known.low) else known.everywhere()


def _reshape(known, shapes, out, params) -> Interval:
    """Follows the axis if it stays one axis; otherwise everything is mixed."""
    if known.axis is None:
        return known
    before, size = int(np.prod(shapes[0][: known.axis])), shapes[0][known.axis]
    if size == 1:  # which axis of length 1 it becomes cannot be told, and does not matter
        return known.everywhere()
    products = itertools.accumulate(out, initial=1, func=lambda a, b: a * b)
    for axis, (product, length) in enumerate(zip(products, out, strict=False)):
        if product == before and length == size:
            return known.moved(axis)
    return known.everywhere()


def _pad(known, shapes, out, params) -> Interval:
    if known.axis is None:
        return known
    low, _, interior = params["padding_config"][known.axis]
    return _window(known, out[known.axis], size=1, before=low, base_dilation=interior + 1)


def _slice(known, shapes, out, params) -> Interval:
    axis = known.axis
    if axis is None:
        return known
    stride = params["strides"][axis] if params["strides"] else 1
    start = params["start_indices"][axis]
    return _window(known, out[axis], size=1, stride=stride, before=-start)


def _dynamic_slice(known, shapes, out, params) -> Interval:
    axis = known.axis
    return known if axis is None or out[axis] == shapes[0][axis] else known.everywhere()


def _gather(known, shapes, out, params) -> Interval:
    numbers, axis = params["dimension_numbers"], known.axis
    if axis is None or params["slice_sizes"][axis] != shapes[0][axis]:
        return known.everywhere()
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    if axis in gone:
        return known.everywhere()
    return known.moved(numbers.offset_dims[axis - sum(other < axis for other in gone)])


def _reverse(known, shapes, out, params) -> Interval:
    if known.axis not in params["dimensions"]:
        return known
    return Interval(known.axis, *(values[::-1] for values in known[1:]))


def _cumulative(known, shapes, out, params) -> Interval:
    if known.axis != params["axis"]:
        return known
    step = -1 if params["reverse"] else 1
    over = (np.minimum.accumulate, np.maximum.accumulate, np.logical_or.accumulate)
    united = (f(values[::step])[::step] for f, values in zip(over, known[1:], strict=True))
    return Interval(known.axis, *united)


ONE_OPERAND = {
    "conv_general_dilated": _convolution,
    **dict.fromkeys(
        ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min"),
        _reduce_window,
    ),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"),
        _reduce,
    ),
    **dict.fromkeys(("argmax", "argmin"), _reduce),
    "squeeze": lambda known, shapes, out, params: _without(known, params["dimensions"]),
    "transpose": lambda known, shapes, out, params: (
        known if known.axis is None else known.moved(params["permutation"].index(known.axis))
    ),
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "pad": _pad,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "rev": _reverse,
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _cumulative),
}


def concatenate(operands: Sequence[Known], shapes: Sequence[tuple], dimension: int) -> Known:
    """Operands of these shapes one behind the other, along an axis."""
    if not any(known is not None and known.axis == dimension for known in operands):
        return united(operands)
    parts = []
    for known, shape in zip(operands, shapes, strict=True):
        if known is not None and known.axis not in (None, dimension):
            return united([known and known.everywhere() for known in operands])
        part = (EMPTY_LOW, EMPTY_HIGH, False) if known is None else known[1:]
        parts.append([np.broadcast_to(values, shape[dimension]) for values in part])
    sizes = [shape[dimension] for shape in shapes]
    low, high, cut = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Interval(dimension, low, high, cut | _padding_by_others(low, sizes))


def _padding_by_others(low: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Whether an index is of a part that does not go on where the longest part ends or begins.

    So are circular, reflecting and repeating padding made. Where the steps from index to index,
    the one over the seam included, are those of the longest part, the parts are one.
    """
    ends = np.cumsum(sizes)
    longest = int(np.argmax(sizes))
    start, end = ends[longest] - sizes[longest], ends[longest]
    steps = np.diff(low)
    usual = np.isin(steps, steps[start : max(end - 1, start)])
    padding = np.zeros(len(low), bool)
    for i in range(start - 1, -1, -1):
        padding[i] = padding[i + 1] or not usual[i]
    for i in range(end, len(low)):
        padding[i] = padding[i - 1] or not usual[i - 1]
    return padding


def split(known: Known, axis: int, sizes: Sequence[int]) -> Iterator[Known]:
    """Parts of an operand, one behind the other along an axis."""
    start = 0
    for size in sizes:
        if known is None or known.axis != axis:
            yield known
        else:
            part = slice(start, start + size)
            yield Interval(axis, *(values[part] for values in known[1:]))
        start += size


def dot(operands: Sequence[Known], shapes: Sequence[tuple], numbers: Any) -> Known:
    """A product of two operands, summed over some of their axes, as `lax.dot_general`."""
    contracted, batch = numbers
    ranks = [len(shape) for shape in shapes]
    free = ranks[0] - len(contracted[0]) - len(batch[0])
    results: list[Known] = []
    for side in (0, 1):
        known = operands[side]
        if known is None or known.axis is None:
            results.append(known)
        elif known.axis in contracted[side]:
            results.append(known.everywhere())
        elif known.axis in batch[side]:
            results.append(known.moved(batch[side].index(known.axis)))
        else:
            gone = {*contracted[side], *batch[side]}
            position = known.axis - sum(axis < known.axis for axis in gone)
            results.append(known.moved(len(batch[side]) + position + (free if side else 0)))
    return united(results)
