"""JAX's operations on axes, places and order as operators of ONNX."""

from typing import Any

import numpy as np

from cnn_jax.run.exporting.onnx_graph import Broadcast, Graph, Value

WRITTEN_OUT = 2**20  # elements up to which a repeated constant is computed here


def _reshape(g: Graph, eqn: Any, values: list[Value]) -> str:
    return g.reshape(g.name(values[0]), eqn.outvars[0].aval.shape)


def _broadcast(g: Graph, eqn: Any, values: list[Value]) -> Value:
    value = values[0]
    shape, axes = tuple(eqn.params["shape"]), eqn.params["broadcast_dimensions"]
    own = tuple(eqn.invars[0].aval.shape)
    ones: list[Any] = [1] * len(shape)
    for axis, size in zip(axes, own, strict=True):
        ones[axis] = size
    if isinstance(value, Broadcast) and value.shape != own:
        value = g.name(value)
    base: Value
    if isinstance(value, np.ndarray):
        base = value.reshape(ones)
        if all(isinstance(n, int) for n in shape) and np.prod(shape) <= WRITTEN_OUT:
            return np.array(np.broadcast_to(base, shape))
    elif not own:
        base = g.name(value)
    else:
        name = g.name(value)
        base = name if len(ones) == len(own) else g.reshape(name, ones)
    return base if tuple(ones) == shape else Broadcast(base, shape)


def _transpose(g: Graph, eqn: Any, values: list[Value]) -> str:
    return g.transpose(g.name(values[0]), eqn.params["permutation"])


def _concatenate(g: Graph, eqn: Any, values: list[Value]) -> str:
    return g.node("Concat", *map(g.name, values), axis=eqn.params["dimension"])


def _ends(sizes: Any) -> list[int]:
    """The ends of a slice; an axis of the batch is taken whole."""
    return [n if isinstance(n, int) else np.iinfo(np.int64).max for n in sizes]


def _slice(g: Graph, eqn: Any, values: list[Value]) -> str:
    p = eqn.params
    starts, steps = p["start_indices"], p["strides"] or (1,) * len(p["start_indices"])
    axes = range(len(starts))
    return g.slice(g.name(values[0]), starts, _ends(p["limit_indices"]), axes, steps)


def _dynamic_slice(g: Graph, eqn: Any, values: list[Value]) -> str:
    sizes = eqn.params["slice_sizes"]
    given = eqn.invars[0].aval.shape
    axes = [i for i, (n, m) in enumerate(zip(sizes, given, strict=True)) if n != m]
    if not axes:
        return g.name(values[0])
    starts = []
    for axis in axes:
        start = g.cast(g.name(values[1 + axis]), np.int64)
        last = g.node("Sub", g.size(given[axis]), g.size(sizes[axis]))
        start = g.node("Max", g.reshape(start, [1]), g.constant([0], np.int64))
        starts.append(g.node("Min", start, last))
    start = starts[0] if len(starts) == 1 else g.node("Concat", *starts, axis=0)
    end = g.node("Add", start, g.integers([sizes[axis] for axis in axes]))
    return g.node("Slice", g.name(values[0]), start, end, g.integers(axes))


def _stack(g: Graph, eqn: Any, values: list[Value]) -> str:
    axis = eqn.params["axis"]
    names = [g.node("Unsqueeze", g.name(value), g.integers([axis])) for value in values]
    return g.node("Concat", *names, axis=axis)


def _unstack(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    axis, name = eqn.params["axis"], g.name(values[0])
    places = [g.constant(i, np.int64) for i in range(len(eqn.outvars))]
    return [g.node("Gather", name, place, axis=axis) for place in places]


def _split(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    axis, name, start, parts = eqn.params["axis"], g.name(values[0]), 0, []
    for size in eqn.params["sizes"]:
        parts.append(g.slice(name, [start], [start + size], [axis], [1]))
        start += size
    return parts


def _reverse(g: Graph, eqn: Any, values: list[Value]) -> str:
    axes = eqn.params["dimensions"]
    least = np.iinfo(np.int64).min
    many = len(axes)
    return g.slice(g.name(values[0]), [-1] * many, [least] * many, axes, [-1] * many)


def _pad(g: Graph, eqn: Any, values: list[Value]) -> str:
    config = eqn.params["padding_config"]
    if any(inner for _, _, inner in config):
        raise NotImplementedError("padding between elements")
    name, fill = g.name(values[0]), values[1]
    cut = [(i, max(-low, 0), max(-high, 0)) for i, (low, high, _) in enumerate(config)]
    cut = [entry for entry in cut if entry[1] or entry[2]]
    if cut:
        ends = [-high if high else np.iinfo(np.int64).max for _, _, high in cut]
        axes = [axis for axis, _, _ in cut]
        name = g.slice(name, [low for _, low, _ in cut], ends, axes, [1] * len(cut))
    pads = [max(low, 0) for low, _, _ in config] + [max(high, 0) for _, high, _ in config]
    if not any(pads):
        return name
    dtype = eqn.invars[0].aval.dtype
    if dtype == np.dtype(bool):
        padded = g.node("Pad", g.cast(name, np.int32), g.integers(pads),
                        g.cast(g.name(fill), np.int32))  # fmt: skip
        return g.cast(padded, bool)
    return g.node("Pad", name, g.integers(pads), g.name(fill))


def _numbers(g: Graph, eqn: Any, values: list[Value]) -> Value:
    """0, 1, 2 ... along an axis (iota), of a length that depends on the batch."""
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    length = g.reshape(g.size(shape[axis]), [])
    zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
    ones = [1] * len(shape)
    ones[axis] = -1
    counted = g.cast(g.node("Range", zero, length, one), eqn.params["dtype"])
    base = g.node("Reshape", counted, g.integers(ones))
    return base if len(shape) == 1 else Broadcast(base, tuple(shape))


def _dimension(g: Graph, eqn: Any, values: list[Value]) -> str:
    size = g.reshape(g.size(eqn.params["dim"]), [])
    return g.cast(size, eqn.outvars[0].aval.dtype)


def _gather(g: Graph, eqn: Any, values: list[Value]) -> str:
    """Elements, rows or the like at given places: GatherND, with the axes in its order."""
    p, shape = eqn.params, eqn.invars[0].aval.shape
    numbers, sizes = p["dimension_numbers"], p["slice_sizes"]
    batched = list(numbers.operand_batching_dims)
    mapped = list(numbers.start_index_map)
    rest = [axis for axis in range(len(shape)) if axis not in batched + mapped]
    whole = all(sizes[axis] is shape[axis] or sizes[axis] == shape[axis] for axis in rest)
    kept = [axis for axis in mapped if axis not in numbers.collapsed_slice_dims]
    if not whole or any(sizes[axis] != 1 for axis in mapped):
        return _windows(g, eqn, values)
    data = g.transpose(g.name(values[0]), batched + mapped + rest)
    rank = len(eqn.invars[1].aval.shape)
    ahead = list(numbers.start_indices_batching_dims)
    free = [axis for axis in range(rank - 1) if axis not in ahead]
    places = g.transpose(g.name(values[1]), [*ahead, *free, rank - 1])
    last = np.array([shape[axis] - 1 for axis in mapped])
    places = _within(g, places, eqn.invars[1].aval.dtype, last)
    found = g.node("GatherND", data, places, batch_dims=len(batched))
    # now [*ahead, *free, *rest]; wanted: the axes of the indices, and those of the slices between
    order = {axis: i for i, axis in enumerate([*ahead, *free])}
    result: list[int] = []
    size = len(eqn.outvars[0].aval.shape)
    indices = iter(order[axis] for axis in range(rank - 1))
    slices = iter(range(len(order), len(order) + len(rest)))
    within = [axis for axis in range(len(shape))
              if axis not in numbers.collapsed_slice_dims and axis not in batched]  # fmt: skip
    inside = iter(within)
    for axis in range(size):
        if axis not in numbers.offset_dims:
            result.append(next(indices))
        elif next(inside) not in kept:
            result.append(next(slices))
    found = g.transpose(found, result)
    return g.reshape(found, eqn.outvars[0].aval.shape) if kept else found


def _within(g: Graph, places: str, dtype: Any, last: np.ndarray) -> str:
    """Places as int64, within the array: JAX takes the nearest one, or never leaves it."""
    places = g.cast(places, np.int64)
    places = g.node("Max", places, g.constant(0, np.int64))
    return g.node("Min", places, g.constant(last, np.int64))


def _windows(g: Graph, eqn: Any, values: list[Value]) -> str:
    """One window of an array, at one place: what a slice with a computed start becomes."""
    p, shape = eqn.params, eqn.invars[0].aval.shape
    numbers, sizes = p["dimension_numbers"], p["slice_sizes"]
    mapped = list(numbers.start_index_map)
    single = len(eqn.invars[1].aval.shape) == 1 and not numbers.operand_batching_dims
    if not single:
        raise NotImplementedError("gather of windows at several places")
    last = np.array([shape[axis] - sizes[axis] for axis in mapped])
    start = _within(g, g.name(values[1]), eqn.invars[1].aval.dtype, last)
    end = g.node("Add", start, g.integers([sizes[axis] for axis in mapped]))
    found = g.node("Slice", g.name(values[0]), start, end, g.integers(mapped))
    return g.reshape(found, eqn.outvars[0].aval.shape)


def _scatter_add(g: Graph, eqn: Any, values: list[Value]) -> str:
    """Adds numbers at places along the last axis; those beyond its end are left out."""
    p, shape = eqn.params, eqn.invars[0].aval.shape
    numbers = p["dimension_numbers"]
    batched = len(numbers.operand_batching_dims)
    axis = len(shape) - 1
    plain = not numbers.update_window_dims and numbers.inserted_window_dims == (axis,)
    indices = eqn.invars[1].aval.shape
    if not plain or batched != axis or len(indices) != axis + 2:
        raise NotImplementedError("this scatter-add")
    places = g.cast(g.reshape(g.name(values[1]), indices[:-1]), np.int64)
    beyond = g.constant(shape[axis], np.int64)
    outside = g.node("Less", places, g.constant(0, np.int64))
    places = g.node("Where", outside, beyond, g.node("Min", places, beyond))
    dtype = eqn.invars[0].aval.dtype
    pads = [0] * len(shape) + [0] * axis + [1]
    data = g.node("Pad", g.name(values[0]), g.integers(pads), g.constant(0, dtype))
    added = g.node("ScatterElements", data, places, g.name(values[2]), axis=axis, reduction="add")
    return g.slice(added, [0], [shape[axis]], [axis], [1])


def _tile(g: Graph, eqn: Any, values: list[Value]) -> str:
    return g.node("Tile", g.name(values[0]), g.shape(eqn.params["reps"]))


def _top(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    p = eqn.params
    axis = p.get("axis", len(eqn.invars[0].aval.shape) - 1)
    best, places = g.node(
        "TopK", g.name(values[0]), g.constant([p["k"]], np.int64), outputs=2, axis=axis
    )
    return [best, g.cast(places, eqn.outvars[1].aval.dtype)]


def _sort(g: Graph, eqn: Any, values: list[Value]) -> list[str]:
    """By the last key first: ONNX's TopK keeps the order of equal elements."""
    p, names = eqn.params, [g.name(value) for value in values]
    axis = p["dimension"]
    count = g.size(eqn.invars[0].aval.shape[axis])
    for key in reversed(range(p["num_keys"])):
        by = names[key]
        if eqn.invars[key].aval.dtype == bool:
            by = g.cast(by, np.int32)
        _, places = g.node("TopK", by, count, outputs=2, axis=axis, largest=0)
        names = [g.node("GatherElements", name, places, axis=axis) for name in names]
    return names


RULES = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "split": _split,
    "stack": _stack,
    "unstack": _unstack,
    "rev": _reverse,
    "pad": _pad,
    "iota": _numbers,
    "dim_as_value": _dimension,
    "gather": _gather,
    "scatter-add": _scatter_add,
    "tile": _tile,
    "top_k": _top,
    "sort": _sort,
}
