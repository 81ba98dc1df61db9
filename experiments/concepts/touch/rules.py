"""How each operation of JAX becomes a layer of the page."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.concepts.touch.layers import Building, Live, cube

# (layers so far, equation, its inputs, name of its module) -> its result; NotImplementedError where
# the page has no such layer
Rule = Callable[[Building, Any, list[Any], str], Live]


def _mul(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    if all(isinstance(each, Live) for each in given):
        inputs = tuple(each.number for each in given)
        return made.add("mul", name, inputs, eqn.outvars[0].aval.shape)
    x, known = _sorted(given)
    return _scale(made, x, known, None, name)


def _div(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    if isinstance(given[1], Live):
        raise NotImplementedError
    return _scale(made, given[0], 1 / np.asarray(given[1], np.float64), None, name)


def _add(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    if all(isinstance(each, Live) for each in given):
        if given[0].shape != given[1].shape:
            raise NotImplementedError
        return made.add("add", name, tuple(each.number for each in given), given[0].shape)
    x, known = _sorted(given)
    return _scale(made, x, None, known, name)


def _sub(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    x, known = _sorted(given)
    if x is given[0]:
        return _scale(made, x, None, -np.asarray(known), name)
    return _scale(made, x, np.asarray(-1.0), known, name)


def _scale(made: Building, x: Live, factor: Any, summand: Any, name: str) -> Live:
    """x * factor + summand, with one number for each channel; joins what came before it."""
    channels = cube(x.shape)[2]
    a, b = _by_channel(factor, channels, 1.0), _by_channel(summand, channels, 0.0)
    last = made.layers[x.number]
    alone = x.number == len(made.layers) - 1
    if alone and last.op in ("conv", "dense") and factor is None and "bias" not in last.arrays:
        return made.join(x, arrays={**last.arrays, "bias": b})
    if alone and last.op == "scale" and last.name == name:
        first = last.arrays
        joined = {"factor": first["factor"] * a, "summand": first["summand"] * a + b}
        return made.join(x, arrays=joined)
    if alone and last.op in ("sum", "sumpool") and summand is None and np.all(a == a[0]):
        count = last.settings["count"]
        if abs(a[0] * count - 1) < 1e-5:
            return made.join(x, op={"sum": "mean", "sumpool": "meanpool"}[last.op])
    return made.add("scale", name, (x.number,), x.shape, factor=a, summand=b)


def _max(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _clip(made, given, name, "low")


def _min(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _clip(made, given, name, "high")


def _clip(made: Building, given: list[Any], name: str, side: str) -> Live:
    if all(isinstance(each, Live) for each in given):
        raise NotImplementedError
    x, known = _sorted(given)
    bound = float(_only(known))
    last = made.layers[x.number]
    if last.op == "clip" and last.settings[side] is None and x.number == len(made.layers) - 1:
        return made.join(x, settings={**last.settings, side: bound})
    bounds = {"low": None, "high": None, side: bound}
    return made.add("clip", name, (x.number,), x.shape, **bounds)


def _clamp(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    low, x, high = given
    if isinstance(low, Live) or isinstance(high, Live):
        raise NotImplementedError
    return made.add(
        "clip", name, (x.number,), x.shape, low=float(_only(low)), high=float(_only(high))
    )


def _convert_element_type(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    if not np.issubdtype(eqn.params["new_dtype"], np.float32):
        raise NotImplementedError(f"in {eqn.params['new_dtype']}")
    return given[0]


def _conv_general_dilated(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    p, (x, kernel) = eqn.params, given
    if isinstance(kernel, Live) or p["batch_group_count"] != 1 or max(p["lhs_dilation"]) > 1:
        raise NotImplementedError("convolution of this kind")
    numbers, rank = p["dimension_numbers"], len(x.shape) - 2
    last = rank + 1
    order = (0, last, *range(1, last))
    if tuple(numbers.lhs_spec) != order or tuple(numbers.out_spec) != order:
        raise NotImplementedError("convolution with channels first")
    # rhs_spec: (out, in, *window) -> [*window, in, out]
    out, within, *window = numbers.rhs_spec
    w = np.asarray(kernel, np.float32).transpose(*window, within, out)
    w = w.reshape((1,) * (2 - rank) + w.shape)
    return made.add(
        "conv",
        name,
        (x.number,),
        eqn.outvars[0].aval.shape,
        kernel=w,
        stride=_two(p["window_strides"], 1),
        dilation=_two(p["rhs_dilation"], 1),
        padding=_two([[int(a), int(b)] for a, b in p["padding"]], [0, 0]),
        groups=int(p["feature_group_count"]),
    )


def _dot_general(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    x, weights = given
    (left, right), batch = eqn.params["dimension_numbers"]
    if not isinstance(x, Live) or isinstance(weights, Live) or any(map(len, batch)):
        raise NotImplementedError("a product of two layers")
    plain = tuple(left) == (len(x.shape) - 1,) and tuple(right) == (0,)
    if not plain or np.ndim(weights) != 2:
        raise NotImplementedError("a product of this shape")
    shape = eqn.outvars[0].aval.shape
    if len(x.shape) == 2:
        return made.add("dense", name, (x.number,), shape, kernel=weights)
    kernel = np.asarray(weights)[None, None]
    one = {"stride": [1, 1], "dilation": [1, 1], "padding": [[0, 0], [0, 0]], "groups": 1}
    return made.add("conv", name, (x.number,), shape, kernel=kernel, **one)


def _reduce_window_max(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _window(made, eqn, given, name, "maxpool")


def _reduce_window_sum(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _window(made, eqn, given, name, "sumpool")


def _window(made: Building, eqn: Any, given: list[Any], name: str, op: str) -> Live:
    p, x = eqn.params, given[0]
    window, strides, pads = p["window_dimensions"], p["window_strides"], p["padding"]
    outer = [window[0], window[-1], strides[0], strides[-1], *pads[0], *pads[-1]]
    dilated = max(p["window_dilation"]) > 1 or max(p["base_dilation"]) > 1
    if len(x.shape) < 3 or outer != [1, 1, 1, 1, 0, 0, 0, 0] or dilated:
        raise NotImplementedError("pooling over these windows")
    return made.add(
        op,
        name,
        (x.number,),
        eqn.outvars[0].aval.shape,
        window=_two(window[1:-1], 1),
        stride=_two(strides[1:-1], 1),
        padding=_two([[int(a), int(b)] for a, b in pads[1:-1]], [0, 0]),
        count=int(np.prod(window)),
    )


def _reduce_sum(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _reduced(made, eqn, given, name, "sum")


def _reduce_max(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    return _reduced(made, eqn, given, name, "max")


def _reduced(made: Building, eqn: Any, given: list[Any], name: str, op: str) -> Live:
    (x,) = given
    if len(x.shape) < 3 or tuple(eqn.params["axes"]) != tuple(range(1, len(x.shape) - 1)):
        raise NotImplementedError("a sum over other axes than those of the image")
    shape = (1, x.shape[-1])
    return made.add(op, name, (x.number,), shape, count=int(np.prod(x.shape[1:-1])))


def _reshape(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    (x, *_), shape = given, tuple(eqn.outvars[0].aval.shape)
    if cube(x.shape) == cube(shape):
        return x._replace(shape=shape)
    if len(shape) != 2:
        raise NotImplementedError
    return made.add("flatten", name, (x.number,), shape)


def _broadcast_in_dim(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    (x, *_), shape = given, tuple(eqn.outvars[0].aval.shape)
    if np.prod(x.shape) == np.prod(shape) and x.shape[-1] == shape[-1]:
        return x._replace(shape=shape)
    if cube(x.shape)[:2] == (1, 1) and x.shape[-1] == shape[-1]:
        return made.add("spread", name, (x.number,), shape)
    raise NotImplementedError


def _concatenate(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    shape = eqn.outvars[0].aval.shape
    if eqn.params["dimension"] != len(shape) - 1 or not all(isinstance(x, Live) for x in given):
        raise NotImplementedError
    return made.add("concat", name, tuple(x.number for x in given), shape)


def _slice(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    (x,), p = given, eqn.params
    rank = len(x.shape)
    strides = p["strides"] or (1,) * rank
    if rank < 3 or p["start_indices"][-1] or p["limit_indices"][-1] != x.shape[-1]:
        raise NotImplementedError
    start = _two(p["start_indices"][1:-1], 0)
    shape = eqn.outvars[0].aval.shape
    return made.add("slice", name, (x.number,), shape, start=start, stride=_two(strides[1:-1], 1))


def _pad(made: Building, eqn: Any, given: list[Any], name: str) -> Live:
    (x, value), config = given, eqn.params["padding_config"]
    if isinstance(value, Live) or float(value) or any(inner for _, _, inner in config):
        raise NotImplementedError
    if any(low < 0 or high < 0 for low, high, _ in config):
        raise NotImplementedError
    before = [*_two([low for low, _, _ in config[1:-1]], 0), int(config[-1][0])]
    return made.add("pad", name, (x.number,), eqn.outvars[0].aval.shape, before=before)


def _two(values: Any, missing: Any) -> list[Any]:
    """Values of one or two axes, as those of (rows, columns)."""
    found = [v if isinstance(v, list) else int(v) for v in values]
    return [missing] * (2 - len(found)) + found


def _sorted(given: list[Any]) -> tuple[Live, Any]:
    """(the result of a layer, the known array)."""
    first, second = given
    if isinstance(first, Live) and not isinstance(second, Live):
        return first, second
    if isinstance(second, Live) and not isinstance(first, Live):
        return second, first
    raise NotImplementedError


def _only(known: Any) -> Any:
    array = np.asarray(known)
    if array.size == 0 or np.any(array != array.flat[0]):
        raise NotImplementedError("a bound of its own for each unit")
    return array.flat[0]


def _by_channel(known: Any, channels: int, missing: float) -> np.ndarray:
    """float32 [C] of an array that differs only between channels."""
    if known is None:
        return np.full(channels, missing, np.float32)
    array = np.asarray(known, np.float32)
    if array.ndim == 0 or array.size == 1:
        return np.full(channels, array.flat[0], np.float32)
    rows = array.reshape(-1, array.shape[-1])
    if np.any(rows != rows[:1]) or array.shape[-1] not in (1, channels):
        raise NotImplementedError("a factor of its own for each position")
    return np.broadcast_to(rows[0], (channels,)).astype(np.float32)


RULES: dict[str, Rule] = {
    "mul": _mul,
    "div": _div,
    "add": _add,
    "sub": _sub,
    "max": _max,
    "min": _min,
    "clamp": _clamp,
    "convert_element_type": _convert_element_type,
    "conv_general_dilated": _conv_general_dilated,
    "dot_general": _dot_general,
    "reduce_window_max": _reduce_window_max,
    "reduce_window_sum": _reduce_window_sum,
    "reduce_sum": _reduce_sum,
    "reduce_max": _reduce_max,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "slice": _slice,
    "pad": _pad,
    "add_any": _add,
    "squeeze": _reshape,
}
