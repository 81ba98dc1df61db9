"""Folds what follows a convolution into it: batch norm's scale and shift, a sum, an activation.

In inference batch norm multiplies each channel by a number and adds another. Both are known, so the
first goes into the convolution's kernel and the second becomes its bias. A residual sum and an
activation function come after, and a library that computes both while it writes the result reads
and writes no map twice.
"""

import math
from collections import defaultdict
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cnn_jax.cpu import elementwise
from cnn_jax.cpu.flat import Operation, Program, Slot, Value

CONVOLUTION, PRODUCT = "conv_general_dilated", "dot_general"


class Layer(NamedTuple):
    """A convolution or product with a known kernel, and what follows it.

    Attributes:
        eqn: the convolution or product itself.
        x: slot of its input.
        kernel: its kernel, with the scale.
        shape: shape of the result, which may be another than that of the convolution.
        axis: axis of this shape along which the features lie.
        bias: number for each feature, [F], or None.
        added: slot of an array of the result's shape that is added, or None.
        activation: name of an activation function (`onednn.ACTIVATIONS`), or ''.
        folded: number of operations that are part of it, beside the first.
        output: slot of the result.
    """

    eqn: Any
    x: Value
    kernel: np.ndarray
    shape: tuple[int, ...]
    axis: int
    bias: np.ndarray | None
    added: Slot | None
    activation: str
    folded: int
    output: Slot

    @property
    def aval(self) -> Any:
        return self.eqn.outvars[0].aval

    @property
    def kernel_axis(self) -> int:
        """Axis of the kernel along which the features lie."""
        if self.eqn.primitive.name == CONVOLUTION:
            return self.eqn.params["dimension_numbers"].rhs_spec[0]
        return 1

    @property
    def own_axis(self) -> int:
        """Axis of the convolution's own result along which the features lie."""
        if self.eqn.primitive.name == CONVOLUTION:
            return self.eqn.params["dimension_numbers"].out_spec[1]
        return len(self.aval.shape) - 1

    def scaled(self, factor: np.ndarray) -> "Layer":
        shape = [1] * self.kernel.ndim
        shape[self.kernel_axis] = -1
        kernel = (self.kernel * factor.reshape(shape)).astype(self.kernel.dtype)
        bias = None if self.bias is None else self.bias * factor
        return self._replace(kernel=kernel, bias=bias, folded=self.folded + 1)

    def shifted(self, number: np.ndarray) -> "Layer":
        bias = number if self.bias is None else self.bias + number
        return self._replace(bias=bias, folded=self.folded + 1)

    def reshaped(self, shape: tuple[int, ...]) -> "Layer | None":
        """The same numbers in another shape; None if the features no longer have an axis."""
        before, features = math.prod(self.shape[: self.axis]), self.shape[self.axis]
        for axis, size in enumerate(shape):
            if size == features and math.prod(shape[:axis]) == before:
                return self._replace(shape=shape, axis=axis, folded=self.folded + 1)
        return None


Step = Operation | Layer


def fold(program: Program) -> tuple[list[Step], list[Value]]:
    """The steps of a program, in order, and its outputs: slots and known values."""
    return _Folding(program).steps()


class _Folding:
    def __init__(self, program: Program):
        self.program = program
        self.operations = program.operations
        self.uses = program.uses()
        self.readers: dict[Slot, list[int]] = defaultdict(list)
        for place, each in enumerate(self.operations):
            for value in each.inputs:
                if isinstance(value, Slot):
                    self.readers[value].append(place)
        self.made: list[Step] = []
        self.pending: dict[Slot, Layer] = {}  # layers that are not written yet
        self.done: set[int] = set()  # places of operations that are part of a layer

    def steps(self) -> tuple[list[Step], list[Value]]:
        for place, each in enumerate(self.operations):
            if place in self.done:
                continue
            layer = _layer(each) or self._continued(each)
            if layer is not None:
                self._settle(layer.x)
                self._keep(layer)
            else:
                for value in each.inputs:
                    self._settle(value)
                self.made.append(each)
        for value in self.program.outputs:
            self._settle(value)
        return self.made, self.program.outputs

    def _keep(self, layer: Layer) -> None:
        """Holds a layer back while the next operation may become part of it."""
        self.pending[layer.output] = layer
        found = None if layer.activation else self._activation(layer)
        if found:
            del self.pending[layer.output]
            self.done.update(found.operations)
            count = layer.folded + len(found.operations)
            self.made.append(
                layer._replace(activation=found.name, folded=count, output=found.output)
            )
        elif self.uses[layer.output] != 1:
            self._settle(layer.output)

    def _activation(self, layer: Layer) -> elementwise.Found | None:
        if layer.aval.dtype != jnp.float32 or not self.readers[layer.output]:
            return None
        first = self.readers[layer.output][0]
        near = range(first, len(self.operations))
        return elementwise.activation(self.operations, near, layer.output, self.uses)

    def _settle(self, value: Value) -> None:
        if isinstance(value, Slot) and value in self.pending:
            self.made.append(self.pending.pop(value))

    def _continued(self, each: Operation) -> Layer | None:
        """The layer that an operation prolongs: it is written once, by what comes after."""
        if each.name in ("reshape", "squeeze"):
            layer = self.pending.get(each.inputs[0])
            new = layer and layer.reshaped(each.aval.shape)
            if not (layer and new):
                return None
            del self.pending[layer.output]
            return new._replace(output=each.outputs[0])
        if each.name not in ("add", "sub", "mul", "div"):
            return None
        a, b = each.inputs
        for value, other in ((a, b), (b, a)):
            layer = self.pending.get(value) if isinstance(value, Slot) else None
            if layer is None or layer.shape != each.aval.shape:
                continue
            new = self._with(layer, each.name, other, value is a)
            if new is not None:
                del self.pending[layer.output]
                return new._replace(output=each.outputs[0])
        return None

    def _with(self, layer: Layer, name: str, other: Value, first: bool) -> Layer | None:
        if isinstance(other, Slot):
            return self._added(layer, other) if name == "add" else None
        number = per_feature(other, layer)
        if number is None or layer.added is not None:
            return None
        if name == "mul":
            return layer.scaled(number)
        if name == "div" and first and number.all():
            return layer.scaled(1 / number)
        if name == "add":
            return layer.shifted(number)
        if name == "sub":
            return (
                layer.shifted(-number)
                if first
                else layer.scaled(-np.ones_like(number)).shifted(number)
            )
        return None

    def _added(self, layer: Layer, other: Slot) -> Layer | None:
        if layer.added is not None or other == layer.output or not self._same_shape(layer, other):
            return None
        self._settle(other)
        return layer._replace(added=other, folded=layer.folded + 1)

    def _same_shape(self, layer: Layer, other: Slot) -> bool:
        for place in self.readers[other]:
            each = self.operations[place]
            for value, var in zip(each.inputs, each.eqn.invars, strict=True):
                if isinstance(value, Slot) and value == other:
                    aval = var.aval
                    return aval.shape == layer.shape and aval.dtype == layer.aval.dtype
        return False


def _layer(each: Operation) -> Layer | None:
    """A convolution or product of an input with a known floating-point kernel."""
    if each.name not in (CONVOLUTION, PRODUCT) or not isinstance(each.inputs[0], Slot):
        return None
    if isinstance(each.inputs[1], Slot):
        return None
    kernel = np.asarray(each.inputs[1])
    if kernel.dtype not in (np.float32, np.float64) or kernel.dtype != each.aval.dtype:
        return None  # in half precision a scale would round each weight once more
    params = each.eqn.params
    if each.name == CONVOLUTION:
        if params["batch_group_count"] != 1:
            return None
    else:
        ndim = each.eqn.invars[0].aval.ndim
        if kernel.ndim != 2 or params["dimension_numbers"] != (((ndim - 1,), (0,)), ((), ())):
            return None
    shape = each.aval.shape
    layer = Layer(each.eqn, each.inputs[0], kernel, shape, 0, None, None, "", 0, each.outputs[0])
    return layer._replace(axis=layer.own_axis)


def per_feature(value: Any, layer: Layer) -> np.ndarray | None:
    """[F]: the numbers of an array that are the same at all positions; None if they are not."""
    array, shape = np.asarray(value), layer.shape
    if array.dtype != layer.kernel.dtype or array.ndim not in (0, len(shape)):
        return None
    features = shape[layer.axis]
    if array.ndim == 0:
        return np.full(features, array)
    for axis, (size, step) in enumerate(zip(array.shape, array.strides, strict=True)):
        if axis != layer.axis and size != 1 and step != 0:
            return None
    place = tuple(slice(None) if axis == layer.axis else 0 for axis in range(len(shape)))
    return np.broadcast_to(array[place], (features,))
