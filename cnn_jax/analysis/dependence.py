"""Finds the inputs that a value depends on, along one axis, from a jaxpr: nothing is computed.

Along the chosen axis of the input every index of a value depends on an interval of indices, and
each primitive maps intervals to intervals: a convolution unites those in its window, an addition
those of its operands, a transposition changes their axis. The values of weights and data play no
role, so this is what *can* matter: a weight of zero or a dead ReLU still counts.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

EMPTY_LOW, EMPTY_HIGH = np.iinfo(np.int64).max, np.int64(-1)  # depends on nothing: padding


class Interval(NamedTuple):
    """The inputs, low..high inclusive, that each index of a value depends on.

    Attributes:
        axis: axis of the value along which they differ; None if they are the same for all indices.
        low, high: int64 [n], or [1] if axis is None.
        cut: bool, likewise: whether padding replaces some of them, near a border: by zeros, or by
            other inputs, as circular and reflecting padding do.
    """

    axis: int | None
    low: np.ndarray
    high: np.ndarray
    cut: np.ndarray

    def at(self, indices: np.ndarray, seen: np.ndarray) -> "Interval":
        """The interval of a value whose index i unites ours at indices[i, k], if seen[i, k]."""
        inside = (indices >= 0) & (indices < len(self.low))
        indices = np.clip(indices, 0, len(self.low) - 1)
        low = np.where(seen & inside, self.low[indices], EMPTY_LOW).min(-1)
        high = np.where(seen & inside, self.high[indices], EMPTY_HIGH).max(-1)
        cut = (seen & (self.cut[indices] | ~inside)).any(-1)
        return Interval(self.axis, low, high, cut)

    def everywhere(self) -> "Interval":
        """The interval of a value that mixes the whole axis."""
        low, high = self.low.min(keepdims=True), self.high.max(keepdims=True)
        return Interval(None, low, high, np.array([self.cut.any()]))

    def moved(self, axis: int | None) -> "Interval":
        return self._replace(axis=axis)


Known = Interval | None  # None: does not depend on the input


def named_intervals(jaxpr: core.ClosedJaxpr, position: int, axis: int) -> dict[str, Interval]:
    """The intervals of every value named by `checkpoint_name`, and of the outputs.

    Args:
        jaxpr: jaxpr of a function of flat arguments.
        position: index of the argument that is the input.
        axis: axis of the input.

    Returns:
        name -> Interval; the outputs are called 'output 0', 'output 1', ...
    """
    tracer = _Tracer()
    known: list[Known] = [None] * len(jaxpr.jaxpr.invars)
    indices = np.arange(jaxpr.jaxpr.invars[position].aval.shape[axis])
    known[position] = Interval(axis, indices, indices, np.zeros(len(indices), bool))
    for i, output in enumerate(tracer.run(jaxpr.jaxpr, known)):
        if output is not None:
            tracer.named[f"output {i}"] = output
    return tracer.named


class _Tracer:
    def __init__(self):
        self.named: dict[str, Interval] = {}

    def run(self, jaxpr: core.Jaxpr, inputs: Sequence[Known]) -> list[Known]:
        known: dict[Any, Known] = dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variable: Any) -> Known:
            return None if isinstance(variable, core.Literal) else known.get(variable)

        for equation in jaxpr.eqns:
            operands = [read(variable) for variable in equation.invars]
            if any(operand is not None for operand in operands):
                outputs = self._apply(equation, operands)
                known.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _apply(self, equation: core.JaxprEqn, operands: list[Known]) -> list[Known]:
        name, params = equation.primitive.name, equation.params
        if name == "name":
            assert operands[0] is not None
            self.named[params["name"]] = operands[0]
            return operands
        if name == "cond":
            each = [self.run(branch.jaxpr, operands[1:]) for branch in params["branches"]]
            return [_united(outputs) for outputs in zip(*each, strict=True)]
        if name == "scan":
            return self._scan(equation, operands)
        if name not in _MIXING:
            for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
                if key in params:
                    inner = params[key]
                    inner = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
                    return self.run(inner, operands)
        shapes = [_shape(variable) for variable in equation.invars]
        outs = [_shape(variable) for variable in equation.outvars]
        if name == "concatenate":
            return [_concatenate(operands, shapes, params["dimension"])]
        if name == "split":
            return list(_split(operands[0], params["axis"], params["sizes"]))
        if name in _ONE_OPERAND and all(operand is None for operand in operands[1:]):
            assert operands[0] is not None
            return [_ONE_OPERAND[name](operands[0], shapes, outs[0], params)] * len(outs)
        if name == "dot_general":
            return [_dot(operands, shapes, params["dimension_numbers"])]
        if name in _MIXING or not all(_spreads(shape, outs[0]) for shape in shapes):
            return [_united([known and known.everywhere() for known in operands])] * len(outs)
        # elementwise; an axis of length 1 is broadcast against the others
        pairs = zip(operands, shapes, strict=True)
        spread = [known and _broadcast_to(known, shape, outs[0]) for known, shape in pairs]
        return [_united(spread)] * len(outs)

    def _scan(self, equation: core.JaxprEqn, operands: list[Known]) -> list[Known]:
        """A loop, step by step, such as that of `nn.scan` over layers."""
        params = equation.params
        constants, carries = _scan_parts(params)
        first, last = constants, constants + carries
        fixed, carried, read = operands[:first], operands[first:last], operands[last:]
        if any(known is not None and known.axis == 0 for known in read):  # a loop over positions
            mixed = _united([known and known.everywhere() for known in operands])
            return [mixed] * len(equation.outvars)
        read = [
            known and known.moved(None if known.axis is None else known.axis - 1) for known in read
        ]
        written: list[Known] = [None] * (len(equation.outvars) - len(carried))
        for _ in range(params["length"]):
            outputs = self.run(
                getattr(params["jaxpr"], "jaxpr", params["jaxpr"]), [*fixed, *carried, *read]
            )
            before, carried = carried, outputs[: len(carried)]
            rows = [
                known and known.moved(None if known.axis is None else known.axis + 1)
                for known in outputs[len(carried) :]
            ]
            written = [_united(pair) for pair in zip(written, rows, strict=True)]
            if all(map(_same, before, carried)):
                break
        return [*carried, *written]


def _scan_parts(params: Any) -> tuple[int, int]:
    """The numbers of a scan's constants and of the values that it carries along."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carries, _ = params["ft_in"].unpack()  # from JAX 0.12
    return len(constants), len(carries)


def _same(one: Known, other: Known) -> bool:
    if one is None or other is None:
        return one is other
    pairs = zip(one[1:], other[1:], strict=True)
    return one.axis == other.axis and all(np.array_equal(a, b) for a, b in pairs)


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _spreads(shape: tuple, out: tuple) -> bool:
    """Whether an operand of this shape is combined with `out` elementwise."""
    same_rank = len(shape) == len(out)
    return not shape or (same_rank and all(n in (1, m) for n, m in zip(shape, out, strict=True)))


def _broadcast_to(known: Interval, shape: tuple, out: tuple) -> Interval:
    if known.axis is None or shape[known.axis] == out[known.axis]:
        return known
    return known.everywhere()


# Primitives that mix their whole operand, whatever its shape.
_MIXING = {"while", "sort", "fft", "top_k", "triangular_solve", "custom_call", "ragged_dot"}


def _united(known: Sequence[Known]) -> Known:
    intervals = [interval for interval in known if interval is not None]
    if not intervals:
        return None
    axes = {interval.axis for interval in intervals} - {None}
    if len(axes) > 1:
        intervals = [interval.everywhere() for interval in intervals]
    axis = axes.pop() if len(axes) == 1 else None
    _, low, high, cut = intervals[0]
    for interval in intervals[1:]:
        low, high = np.minimum(low, interval.low), np.maximum(high, interval.high)
        cut = cut | interval.cut
    return Interval(axis, low, high, cut)


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


_ONE_OPERAND = {
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


def _concatenate(operands: Sequence[Known], shapes: Sequence[tuple], dimension: int) -> Known:
    if not any(known is not None and known.axis == dimension for known in operands):
        return _united(operands)
    parts = []
    for known, shape in zip(operands, shapes, strict=True):
        if known is not None and known.axis not in (None, dimension):
            return _united([known and known.everywhere() for known in operands])
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


def _split(known: Known, axis: int, sizes: Sequence[int]) -> Iterator[Known]:
    start = 0
    for size in sizes:
        if known is None or known.axis != axis:
            yield known
        else:
            part = slice(start, start + size)
            yield Interval(axis, *(values[part] for values in known[1:]))
        start += size


def _dot(operands: Sequence[Known], shapes: Sequence[tuple], numbers: Any) -> Known:
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
    return _united(results)
