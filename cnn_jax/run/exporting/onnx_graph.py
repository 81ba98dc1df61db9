"""A graph of ONNX operators under construction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Broadcast(NamedTuple):
    """An array that stands for a larger one: most operators of ONNX broadcast by themselves.

    Attributes:
        base: its values, a constant or the name of a result, of a shape that broadcasts to `shape`.
        shape: the shape that it stands for.
    """

    base: Any
    shape: tuple[Any, ...]


Value = Any  # np.ndarray for what is known already, the name of a result, or a Broadcast


class Graph:
    """Nodes in the order in which they run; the graphs of loop bodies are inside another one.

    Attributes:
        nodes: onnx.NodeProto, in order.
        opset: version of the operators.
    """

    def __init__(self, opset: int, batch: Any = None, parent: "Graph | None" = None):
        import onnx

        self.onnx = onnx
        self.opset = opset
        self.nodes: list[Any] = []
        self._root: Graph = parent._root if parent else self
        self._batch = batch
        self._count = 0
        self.initialisers: dict[str, Any] = {}
        self._known: dict[tuple, str] = {}
        self.bytes = 0

    def inner(self) -> "Graph":
        """An empty graph that sees the results of this one."""
        return Graph(self.opset, parent=self)

    def fresh(self, hint: str) -> str:
        """A name that is not used yet."""
        self._root._count += 1
        return f"{hint}_{self._root._count}"

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds an operator; returns the name of its result, or a list of names."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of an array that the file holds."""
        root, array = self._root, np.asarray(value, dtype)
        array = np.ascontiguousarray(array).reshape(array.shape)
        small = array.size <= 64
        key = (array.dtype.str, array.shape, array.tobytes() if small else id(value))
        if key not in root._known or not small:
            name = self.fresh("constant")
            root.initialisers[name] = self.onnx.numpy_helper.from_array(array, name)
            root._known[key] = name
            root.bytes += array.nbytes
            return name
        return root._known[key]

    def name(self, value: Value) -> str:
        """The name of a value, which is written out if it was not yet."""
        if isinstance(value, str):
            return value
        if isinstance(value, Broadcast):
            return self.node("Expand", self.name(value.base), self.shape(value.shape))
        return self.constant(value)

    def shape(self, sizes: Sequence[Any]) -> str:
        """Sizes as int64 [rank]; one that depends on the batch is computed."""
        if all(isinstance(size, (int, np.integer)) for size in sizes):
            return self.constant(np.array(sizes, np.int64).reshape(len(sizes)))
        return self.node("Concat", *(self.size(size) for size in sizes), axis=0)

    def size(self, size: Any) -> str:
        """A size as int64 [1]."""
        if isinstance(size, (int, np.integer)):
            return self.constant([size], np.int64)
        batch = self._root._batch
        if size == batch:
            return "batch_size"
        factor = size // batch
        if not isinstance(factor, int) or factor * batch != size:
            raise ValueError(f"A shape depends on the batch as {size}: give a fixed batch.")
        return self.node("Mul", "batch_size", self.constant([factor], np.int64))

    def cast(self, value: str, dtype: Any) -> str:
        return self.node("Cast", value, to=self.type(dtype))

    def type(self, dtype: Any) -> int:
        """ONNX's number of a type."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def reshape(self, value: str, sizes: Sequence[Any]) -> str:
        """The value with other axes; one of them may depend on the batch."""
        fixed = [size if isinstance(size, (int, np.integer)) else -1 for size in sizes]
        if fixed.count(-1) > 1 or 0 in fixed:
            return self.node("Reshape", value, self.shape(sizes))
        return self.node("Reshape", value, self.constant(np.array(fixed, np.int64)))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        if list(order) == list(range(len(order))):
            return value
        return self.node("Transpose", value, perm=[int(axis) for axis in order])

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64).reshape(len(values)))

    def reduce(self, op: str, value: str, axes: Sequence[int]) -> str:
        """The sum, maximum or the like over some axes, which are left out."""
        if not axes:
            return value  # to ONNX, no axes are all of them
        if op == "ReduceSum" or self.opset >= 18:
            return self.node(op, value, self.integers(axes), keepdims=0)
        return self.node(op, value, axes=list(axes), keepdims=0)

    def where(self, which: str, one: str, other: str, dtype: Any) -> str:
        """`one` where `which` is true, else `other`; onnxruntime has no such choice of booleans."""
        if np.dtype(dtype) != np.dtype(bool):
            return self.node("Where", which, one, other)
        first = self.node("And", which, one)
        return self.node("Or", first, self.node("And", self.node("Not", which), other))

    def slice(
        self,
        value: str,
        starts: Sequence[int],
        ends: Sequence[int],
        axes: Sequence[int],
        steps: Sequence[int],
    ) -> str:
        return self.node("Slice", value, *map(self.integers, (starts, ends, axes, steps)))
