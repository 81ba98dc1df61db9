"""A trained network as a list of layers: data that the page can draw and compute.

The list is read from the program of the network (a jaxpr), so that a new network needs no line
here, as long as its operations are known. What depends on no pixel is computed here: batch
normalisation becomes one factor and one summand for each channel.
"""

import re
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from cnn_jax.typing import Network, PyTree

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where an equation keeps the program that it calls
_SAME = ("copy", "copy_p", "stop_gradient", "optimization_barrier")
_UNARY = {"logistic", "tanh", "erf", "erfc", "exp", "abs", "neg"}
KNOWN = (
    "convolution, batch normalisation, ReLU and other activations, max and mean pooling, sums of "
    "layers, channels put together, a mean over the image, and fully connected layers"
)


class UnknownLayer(ValueError):
    """The network has an operation that the page does not know."""


class Layer(NamedTuple):
    """One operation.

    Attributes:
        op: its kind: 'input', 'conv', 'scale', 'clip', 'act', 'maxpool', 'sumpool', 'add', 'mul',
            'concat', 'sum', 'max', 'dense', 'flatten', 'slice', 'pad', 'spread'.
        name: name of the module that it belongs to; '' for none.
        inputs: indices of the layers that it reads.
        shape: [H, W, C] of what it gives; H = 1 for a sequence, and [1, 1, C] for a vector.
        settings: whatever else the kind needs, as JSON.
        arrays: weights by name, float32.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]
    settings: dict[str, Any]
    arrays: dict[str, np.ndarray]


class _Live(NamedTuple):
    """The result of a layer, as the program has it."""

    number: int
    shape: tuple[int, ...]  # with the batch of one
    version: int = 0  # operations that have joined the layer since


def read(
    model: Network,
    variables: PyTree,
    image_shape: tuple[int, ...],
    *,
    mean: Any = 0.0,
    std: Any = 1.0,
) -> list[Layer]:
    """The layers of a network, in the order in which they run; the last gives the logits.

    Args:
        model: called as `model(image, train=False)`.
        variables: its variables.
        image_shape: (H, W, C), or (T, C) of a sequence.
        mean, std: what pixels in 0..1 are normalised with, per channel; the first layer does it.

    Raises:
        UnknownLayer: an operation that the page does not know.
    """
    if len(image_shape) not in (2, 3):
        raise UnknownLayer(
            f"The network takes inputs of shape {list(image_shape)}, and the page shows images and "
            "sequences: give a run of one of these."
        )
    mean, std = (np.asarray(each, np.float32) for each in (mean, std))

    def whole(x: Any) -> Any:
        if np.any(mean != 0) or np.any(std != 1):
            x = (x - mean) / std
        return model.apply(variables, x, train=False)  # type: ignore[attr-defined]

    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    program = jax.make_jaxpr(whole)(image)
    reader = _Reader()
    given = reader.add("input", "", (), (1, *image_shape))
    outputs = reader.walk(program, [given], "")
    if len(outputs) != 1 or not isinstance(outputs[0], _Live):
        raise UnknownLayer("The network gives several outputs; the page shows one of logits.")
    return reader.needed(outputs[0].number)


class _Reader:
    """Reads a program equation by equation."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.versions: list[int] = []

    def add(self, op: str, name: str, inputs: tuple[int, ...], shape: Any, **more: Any) -> _Live:
        """A new layer; arrays of `more` are its weights, the rest its settings."""
        arrays = {k: np.asarray(v, np.float32) for k, v in more.items() if _is_array(v)}
        settings = {k: v for k, v in more.items() if not _is_array(v)}
        self.layers.append(Layer(op, name, inputs, _cube(shape), settings, arrays))
        self.versions.append(0)
        return _Live(len(self.layers) - 1, tuple(shape))

    def join(self, x: _Live, **changes: Any) -> _Live:
        """The layer of x with one operation more; who reads x as it was is refused later on."""
        self.layers[x.number] = self.layers[x.number]._replace(**changes)
        self.versions[x.number] += 1
        return x._replace(version=self.versions[x.number])

    def needed(self, last: int) -> list[Layer]:
        """The layers that the last one depends on, numbered anew."""
        wanted = {last}
        for index in range(last, -1, -1):
            if index in wanted:
                wanted.update(self.layers[index].inputs)
        place = {index: i for i, index in enumerate(sorted(wanted))}
        return [
            layer._replace(inputs=tuple(place[i] for i in layer.inputs))
            for index, layer in enumerate(self.layers)
            if index in wanted
        ]

    def walk(self, program: Any, inputs: list[Any], scope: str) -> list[Any]:
        """Runs a program on values: arrays, which are computed, and results of layers."""
        jaxpr = program.jaxpr if hasattr(program, "consts") else program
        values: dict[Any, Any] = dict(
            zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True)
        )
        values.update(zip(jaxpr.invars, inputs, strict=True))

        def value(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        for eqn in jaxpr.eqns:
            given = [value(atom) for atom in eqn.invars]
            own = f"{scope}/{getattr(eqn.source_info, 'name_stack', '')}"
            made = self._equation(eqn, given, own)
            outputs = made if eqn.primitive.multiple_results else [made]
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, given: list[Any], scope: str) -> Any:
        inner = next((eqn.params[key] for key in _INNER if key in eqn.params), None)
        if inner is not None and eqn.primitive.name not in ("scan", "while"):
            return self.walk(inner, given, scope)
        if not any(isinstance(each, _Live) for each in given):
            return eqn.primitive.bind(*given, **eqn.params)
        name = _module(scope)
        rule = getattr(self, f"_{eqn.primitive.name}", None)
        try:
            if any(self._is_stale(each) for each in given):
                raise NotImplementedError("a layer that is read before and after its bias")
            if eqn.primitive.name in _SAME:
                return given[0]
            if eqn.primitive.name in _UNARY:
                (x,) = given
                return self.add("act", name, (x.number,), x.shape, kind=eqn.primitive.name)
            if rule is None:
                raise NotImplementedError
            return rule(eqn, given, name)
        except NotImplementedError as error:
            what = str(error) or eqn.primitive.name
            where = f" in {name}" if name else ""
            raise UnknownLayer(
                f"The page does not know the operation {what}{where}. It knows {KNOWN}."
            ) from error

    def _is_stale(self, value: Any) -> bool:
        return isinstance(value, _Live) and value.version != self.versions[value.number]

    # Numbers by numbers

    def _mul(self, eqn: Any, given: list[Any], name: str) -> _Live:
        if all(isinstance(each, _Live) for each in given):
            inputs = tuple(each.number for each in given)
            return self.add("mul", name, inputs, eqn.outvars[0].aval.shape)
        x, known = _sorted(given)
        return self._scale(x, known, None, name)

    def _div(self, eqn: Any, given: list[Any], name: str) -> _Live:
        if isinstance(given[1], _Live):
            raise NotImplementedError
        return self._scale(given[0], 1 / np.asarray(given[1], np.float64), None, name)

    def _add(self, eqn: Any, given: list[Any], name: str) -> _Live:
        if all(isinstance(each, _Live) for each in given):
            if given[0].shape != given[1].shape:
                raise NotImplementedError
            return self.add("add", name, tuple(each.number for each in given), given[0].shape)
        x, known = _sorted(given)
        return self._scale(x, None, known, name)

    _add_any = _add

    def _sub(self, eqn: Any, given: list[Any], name: str) -> _Live:
        x, known = _sorted(given)
        if x is given[0]:
            return self._scale(x, None, -np.asarray(known), name)
        return self._scale(x, np.asarray(-1.0), known, name)

    def _scale(self, x: _Live, factor: Any, summand: Any, name: str) -> _Live:
        """x * factor + summand, with one number for each channel; joins what came before it."""
        channels = _cube(x.shape)[2]
        a, b = _by_channel(factor, channels, 1.0), _by_channel(summand, channels, 0.0)
        last = self.layers[x.number]
        alone = x.number == len(self.layers) - 1
        if alone and last.op in ("conv", "dense") and factor is None and "bias" not in last.arrays:
            return self.join(x, arrays={**last.arrays, "bias": b})
        if alone and last.op == "scale" and last.name == name:
            first = last.arrays
            joined = {"factor": first["factor"] * a, "summand": first["summand"] * a + b}
            return self.join(x, arrays=joined)
        if alone and last.op in ("sum", "sumpool") and summand is None and np.all(a == a[0]):
            count = last.settings["count"]
            if abs(a[0] * count - 1) < 1e-5:
                return self.join(x, op={"sum": "mean", "sumpool": "meanpool"}[last.op])
        return self.add("scale", name, (x.number,), x.shape, factor=a, summand=b)

    def _max(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._clip(given, name, "low")

    def _min(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._clip(given, name, "high")

    def _clip(self, given: list[Any], name: str, side: str) -> _Live:
        if all(isinstance(each, _Live) for each in given):
            raise NotImplementedError
        x, known = _sorted(given)
        bound = float(_only(known))
        last = self.layers[x.number]
        if last.op == "clip" and last.settings[side] is None and x.number == len(self.layers) - 1:
            return self.join(x, settings={**last.settings, side: bound})
        bounds = {"low": None, "high": None, side: bound}
        return self.add("clip", name, (x.number,), x.shape, **bounds)

    def _clamp(self, eqn: Any, given: list[Any], name: str) -> _Live:
        low, x, high = given
        if isinstance(low, _Live) or isinstance(high, _Live):
            raise NotImplementedError
        return self.add(
            "clip", name, (x.number,), x.shape, low=float(_only(low)), high=float(_only(high))
        )

    def _convert_element_type(self, eqn: Any, given: list[Any], name: str) -> _Live:
        if not np.issubdtype(eqn.params["new_dtype"], np.float32):
            raise NotImplementedError(f"in {eqn.params['new_dtype']}")
        return given[0]

    # Windows and products

    def _conv_general_dilated(self, eqn: Any, given: list[Any], name: str) -> _Live:
        p, (x, kernel) = eqn.params, given
        if isinstance(kernel, _Live) or p["batch_group_count"] != 1 or max(p["lhs_dilation"]) > 1:
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
        return self.add(
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

    def _dot_general(self, eqn: Any, given: list[Any], name: str) -> _Live:
        x, weights = given
        (left, right), batch = eqn.params["dimension_numbers"]
        if not isinstance(x, _Live) or isinstance(weights, _Live) or any(map(len, batch)):
            raise NotImplementedError("a product of two layers")
        plain = tuple(left) == (len(x.shape) - 1,) and tuple(right) == (0,)
        if not plain or np.ndim(weights) != 2:
            raise NotImplementedError("a product of this shape")
        shape = eqn.outvars[0].aval.shape
        if len(x.shape) == 2:
            return self.add("dense", name, (x.number,), shape, kernel=weights)
        kernel = np.asarray(weights)[None, None]
        one = {"stride": [1, 1], "dilation": [1, 1], "padding": [[0, 0], [0, 0]], "groups": 1}
        return self.add("conv", name, (x.number,), shape, kernel=kernel, **one)

    def _reduce_window_max(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._window(eqn, given, name, "maxpool")

    def _reduce_window_sum(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._window(eqn, given, name, "sumpool")

    def _window(self, eqn: Any, given: list[Any], name: str, op: str) -> _Live:
        p, x = eqn.params, given[0]
        window, strides, pads = p["window_dimensions"], p["window_strides"], p["padding"]
        outer = [window[0], window[-1], strides[0], strides[-1], *pads[0], *pads[-1]]
        dilated = max(p["window_dilation"]) > 1 or max(p["base_dilation"]) > 1
        if len(x.shape) < 3 or outer != [1, 1, 1, 1, 0, 0, 0, 0] or dilated:
            raise NotImplementedError("pooling over these windows")
        return self.add(
            op,
            name,
            (x.number,),
            eqn.outvars[0].aval.shape,
            window=_two(window[1:-1], 1),
            stride=_two(strides[1:-1], 1),
            padding=_two([[int(a), int(b)] for a, b in pads[1:-1]], [0, 0]),
            count=int(np.prod(window)),
        )

    def _reduce_sum(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._reduced(eqn, given, name, "sum")

    def _reduce_max(self, eqn: Any, given: list[Any], name: str) -> _Live:
        return self._reduced(eqn, given, name, "max")

    def _reduced(self, eqn: Any, given: list[Any], name: str, op: str) -> _Live:
        (x,) = given
        if len(x.shape) < 3 or tuple(eqn.params["axes"]) != tuple(range(1, len(x.shape) - 1)):
            raise NotImplementedError("a sum over other axes than those of the image")
        shape = (1, x.shape[-1])
        return self.add(op, name, (x.number,), shape, count=int(np.prod(x.shape[1:-1])))

    # Places

    def _reshape(self, eqn: Any, given: list[Any], name: str) -> _Live:
        (x, *_), shape = given, tuple(eqn.outvars[0].aval.shape)
        if _cube(x.shape) == _cube(shape):
            return x._replace(shape=shape)
        if len(shape) != 2:
            raise NotImplementedError
        return self.add("flatten", name, (x.number,), shape)

    _squeeze = _reshape

    def _broadcast_in_dim(self, eqn: Any, given: list[Any], name: str) -> _Live:
        (x, *_), shape = given, tuple(eqn.outvars[0].aval.shape)
        if np.prod(x.shape) == np.prod(shape) and x.shape[-1] == shape[-1]:
            return x._replace(shape=shape)
        if _cube(x.shape)[:2] == (1, 1) and x.shape[-1] == shape[-1]:
            return self.add("spread", name, (x.number,), shape)
        raise NotImplementedError

    def _concatenate(self, eqn: Any, given: list[Any], name: str) -> _Live:
        shape = eqn.outvars[0].aval.shape
        if eqn.params["dimension"] != len(shape) - 1 or not all(
            isinstance(x, _Live) for x in given
        ):
            raise NotImplementedError
        return self.add("concat", name, tuple(x.number for x in given), shape)

    def _slice(self, eqn: Any, given: list[Any], name: str) -> _Live:
        (x,), p = given, eqn.params
        rank = len(x.shape)
        strides = p["strides"] or (1,) * rank
        if rank < 3 or p["start_indices"][-1] or p["limit_indices"][-1] != x.shape[-1]:
            raise NotImplementedError
        start = _two(p["start_indices"][1:-1], 0)
        shape = eqn.outvars[0].aval.shape
        return self.add(
            "slice", name, (x.number,), shape, start=start, stride=_two(strides[1:-1], 1)
        )

    def _pad(self, eqn: Any, given: list[Any], name: str) -> _Live:
        (x, value), config = given, eqn.params["padding_config"]
        if isinstance(value, _Live) or float(value) or any(inner for _, _, inner in config):
            raise NotImplementedError
        if any(low < 0 or high < 0 for low, high, _ in config):
            raise NotImplementedError
        before = [*_two([low for low, _, _ in config[1:-1]], 0), int(config[-1][0])]
        return self.add("pad", name, (x.number,), eqn.outvars[0].aval.shape, before=before)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _cube(shape: Any) -> tuple[int, int, int]:
    """[1, *space, C] as [H, W, C]."""
    space = [int(n) for n in shape[1:-1]]
    if len(shape) < 2 or len(space) > 2 or shape[0] != 1:
        raise NotImplementedError(f"a result of shape {list(shape)}")
    height, width = [1] * (2 - len(space)) + space
    return height, width, int(shape[-1])


def _two(values: Any, missing: Any) -> list[Any]:
    """Values of one or two axes, as those of (rows, columns)."""
    found = [v if isinstance(v, list) else int(v) for v in values]
    return [missing] * (2 - len(found)) + found


def _sorted(given: list[Any]) -> tuple[_Live, Any]:
    """(the result of a layer, the known array)."""
    first, second = given
    if isinstance(first, _Live) and not isinstance(second, _Live):
        return first, second
    if isinstance(second, _Live) and not isinstance(first, _Live):
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


def _module(scope: str) -> str:
    """'/Digit/conv1/jit(relu)' -> 'conv1': the module's path without its class and functions."""
    parts = [part for part in re.split(r"/", scope) if part and "(" not in part]
    return "/".join(parts[1:])
