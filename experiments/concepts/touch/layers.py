"""A trained network as a list of layers: data that the page can draw and compute.

See `reading` for how the list is read from a network.
"""

from typing import Any, NamedTuple

import numpy as np

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


class Live(NamedTuple):
    """The result of a layer, as the program has it."""

    number: int
    shape: tuple[int, ...]  # with the batch of one
    version: int = 0  # operations that have joined the layer since


class Building:
    """A list of layers under construction."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.versions: list[int] = []

    def add(self, op: str, name: str, inputs: tuple[int, ...], shape: Any, **more: Any) -> Live:
        """A new layer; arrays of `more` are its weights, the rest its settings."""
        arrays = {k: np.asarray(v, np.float32) for k, v in more.items() if _is_array(v)}
        settings = {k: v for k, v in more.items() if not _is_array(v)}
        self.layers.append(Layer(op, name, inputs, cube(shape), settings, arrays))
        self.versions.append(0)
        return Live(len(self.layers) - 1, tuple(shape))

    def join(self, x: Live, **changes: Any) -> Live:
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

    def is_stale(self, value: Any) -> bool:
        return isinstance(value, Live) and value.version != self.versions[value.number]


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape")


def cube(shape: Any) -> tuple[int, int, int]:
    """[1, *space, C] as [H, W, C]."""
    space = [int(n) for n in shape[1:-1]]
    if len(shape) < 2 or len(space) > 2 or shape[0] != 1:
        raise NotImplementedError(f"a result of shape {list(shape)}")
    height, width = [1] * (2 - len(space)) + space
    return height, width, int(shape[-1])
