"""Freezes a function and its variables into one program for inference."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax import jax_internals
from cnn_jax.cpu import choose, flat, folding, geometry, trim, verdict
from cnn_jax.cpu import onednn as calls
from cnn_jax.cpu.flat import Operation, Slot, Value
from cnn_jax.cpu.folding import CONVOLUTION, Layer, Step
from cnn_jax.cpu.onednn import ACTIVATIONS


class Counts(NamedTuple):
    """What freezing did to a function.

    Attributes:
        layers: convolutions and products whose kernels are known.
        folded: operations that became part of one of these.
        calls: layers that are calls to oneDNN, with all that was folded into them.
        operations: operations that are left beside the layers.
    """

    layers: int
    folded: int
    calls: int
    operations: int

    def __str__(self) -> str:
        return (
            f"{self.layers} layers with {self.folded} operations folded into them, "
            f"{self.calls} as calls to oneDNN, {self.operations} operations beside them"
        )


class Frozen:
    """A function for inference, whose variables are part of it; see `freeze`.

    It is traced and compiled once for each structure, shape and dtype of its inputs.
    """

    def __init__(self, function: Callable, variables: Any, onednn: bool | None):
        self._function, self._onednn = function, onednn
        self._variables = jax.tree.map(_own, variables)
        self._programs: dict[Any, tuple[Callable, list[Any], Any, Counts]] = {}
        self._one_at_a_time = threading.Lock()

    def __call__(self, *inputs: Any) -> Any:
        program, weights, tree, _ = self._for(inputs)
        return jax.tree.unflatten(tree, program(weights, *jax.tree.leaves(inputs)))

    def counts(self, *inputs: Any) -> Counts:
        """What was folded for inputs of these shapes (arrays, or jax.ShapeDtypeStruct)."""
        return self._for(inputs)[-1]

    def _for(self, inputs: tuple[Any, ...]) -> tuple[Callable, list[Any], Any, Counts]:
        leaves, tree = jax.tree.flatten(inputs)
        like = [
            jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.canonicalize_dtype(_dtype(leaf)))
            for leaf in leaves
        ]
        key = tree, tuple((each.shape, each.dtype) for each in like)
        with self._one_at_a_time:
            if key not in self._programs:
                self._programs[key] = self._compiled(tree, like)
            return self._programs[key]

    def _compiled(self, tree: Any, like: list[jax.ShapeDtypeStruct]) -> Any:
        run, weights, out, counts = folded(
            self._function, self._variables, *jax.tree.unflatten(tree, like), onednn=self._onednn
        )
        return jax.jit(run), [*map(jnp.array, weights)], out, counts


def _own(leaf: Any) -> Any:
    """A copy of what the caller could write to."""
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def freeze(function: Callable, variables: Any, *, onednn: bool | None = None) -> Frozen:
    """A function for inference: `function(variables, *inputs)` with these variables for good.

        frozen = cnn_jax.cpu.freeze(lambda v, x: model.apply(v, x, train=False), variables)
        logits = frozen(images)

    What depends on the variables alone is computed once. Batch norm's scale and shift, a bias, a
    residual sum and an activation function become part of the convolution or product before them,
    so that each map is written once; where oneDNN can be used, one call does it all. The results
    are those of `function` up to rounding: 1e-5 of the largest for this project's networks.

    Any function of JAX will do: of Flax, Equinox, Haiku, or none of these. On other platforms than
    a CPU and in half precision it is the same function, with what can be folded there.

    Args:
        function: a pure function of the variables and any number of inputs (trees of arrays).
        variables: its first argument, of any kind; later changes to them have no effect.
        onednn: whether convolutions call oneDNN; None: if the program is for a CPU and
            `cnn_jax.cpu.verdict` says that it can be used. Export a frozen function with False:
            such calls cannot be exported.

    Returns:
        The function of the inputs. `counts` says what was folded.
    """
    return Frozen(function, variables, onednn)


def folded(
    function: Callable, variables: Any, *like: Any, onednn: bool | None = None
) -> tuple[Callable[..., list[jax.Array]], list[Any], Any, Counts]:
    """The program behind `freeze`, for inputs of one kind.

    Returns:
        A function of (weights, *leaves of the inputs) that gives the leaves of the outputs; the
        weights; the tree of the outputs; and what was folded.
    """
    if onednn is None:
        onednn = jax.default_backend() == "cpu" and verdict.verdict().works
    traced, out = jax.make_jaxpr(partial(function, variables), return_shape=True)(*like)
    program = flat.flatten(traced)
    steps, outputs = folding.fold(program)
    weights: list[Any] = []
    runs = [_run(step, weights, onednn) for step in steps]
    layers = [step for step in steps if isinstance(step, Layer)]
    counts = Counts(
        layers=len(layers),
        folded=sum(layer.folded for layer in layers),
        calls=sum(_as_call(layer, onednn) is not None for layer in layers),
        operations=len(steps) - len(layers),
    )

    def run(weights: Sequence[Any], *leaves: Any) -> list[jax.Array]:
        values: dict[Slot, Any] = dict(zip(program.inputs, leaves, strict=True))
        for each in runs:
            each(weights, values)
        return [
            values[value] if isinstance(value, Slot) else jnp.asarray(value) for value in outputs
        ]

    return run, weights, jax.tree.structure(out), counts


Run = Callable[[Sequence[Any], dict[Slot, Any]], None]
Read = Callable[[Sequence[Any], dict[Slot, Any]], Any]


def _run(step: Step, weights: list[Any], onednn: bool) -> Run:
    return _layer(step, weights, onednn) if isinstance(step, Layer) else _operation(step, weights)


def _operation(each: Operation, weights: list[Any]) -> Run:
    reads = [_reader(value, weights) for value in each.inputs]

    def run(weights: Sequence[Any], values: dict[Slot, Any]) -> None:
        made = flat.compute(each.eqn, [read(weights, values) for read in reads])
        values.update(zip(each.outputs, made, strict=True))

    return run


def _layer(layer: Layer, weights: list[Any], onednn: bool) -> Run:
    read_x, read_kernel = _reader(layer.x, weights), _reader(layer.kernel, weights)
    shape = [1] * len(layer.aval.shape)
    shape[layer.own_axis] = -1
    bias = None if layer.bias is None else np.asarray(layer.bias, layer.kernel.dtype)
    read_bias = None if bias is None else _reader(bias, weights)
    call = _as_call(layer, onednn)

    def run(weights: Sequence[Any], values: dict[Slot, Any]) -> None:
        x, kernel = read_x(weights, values), read_kernel(weights, values)
        bias = None if read_bias is None else read_bias(weights, values)
        added = None if layer.added is None else values[layer.added].reshape(layer.aval.shape)
        if call is not None:
            values[layer.output] = call(x, kernel, bias, added).reshape(layer.shape)
            return
        y = jax_internals.bind(layer.eqn, x, kernel)
        y = y if bias is None else y + bias.reshape(shape)
        y = y if added is None else y + added
        y = ACTIVATIONS[layer.activation](y) if layer.activation else y
        values[layer.output] = y.reshape(layer.shape)

    return run


def _reader(value: Value, weights: list[Any]) -> Read:
    """Reads a slot, or a known value from the weights, where it is put, compact."""
    if isinstance(value, Slot):
        return lambda weights, values: values[value]
    if not isinstance(value, np.ndarray):
        weights.append(value)
        place = len(weights) - 1
        return lambda weights, values: weights[place]
    if value.size <= 1:  # the compiler uses what a single number is
        return lambda weights, values: value
    steps = zip(value.shape, value.strides, strict=True)
    compact = value[tuple(slice(0, 1) if step == 0 else slice(None) for _, step in steps)]
    weights.append(np.ascontiguousarray(compact))
    place = len(weights) - 1
    return lambda weights, values: jnp.broadcast_to(weights[place], value.shape)


Call = Callable[[Any, Any, Any, Any], jax.Array]  # x, kernel, bias, what is added


def _as_call(layer: Layer, onednn: bool) -> Call | None:
    """One call to oneDNN for all of a layer; None where it cannot be one, or is not worth it."""
    if not onednn or layer.kernel.dtype != np.float32 or layer.aval.dtype != np.float32:
        return None
    if layer.eqn.params["precision"] not in (None, (lax.Precision.DEFAULT,) * 2):
        return None
    after = ["BIAS"] * (layer.bias is not None) + ["BINARY_ADD"] * (layer.added is not None)
    after += [layer.activation] * bool(layer.activation)
    x, y = layer.eqn.invars[0].aval, layer.aval
    if layer.eqn.primitive.name != CONVOLUTION:
        return _product_call(layer, after)
    g = geometry.of(x.shape, layer.kernel.shape, y.shape, layer.eqn.params)
    if min((*x.shape, *layer.kernel.shape, *y.shape)) == 0 or not calls.fits(g) or trim.live(g):
        return None
    if not choose.worth_onednn(g) or choose.choose(g, by_onednn=True) != "onednn":
        return None  # Winograd's took three quarters of the time in VGG-11, its sums and all
    numbers = layer.eqn.params["dimension_numbers"]

    def call(x: Any, kernel: Any, bias: Any, added: Any) -> jax.Array:
        x, kernel = geometry.to_canonical(x, kernel, numbers)
        if added is not None:
            spec = numbers.out_spec
            added = lax.transpose(added, (spec[0], *spec[2:], spec[1]))
        operands = [each for each in (bias, added) if each is not None]
        y = calls.convolve(x, kernel, g, after, operands)
        return geometry.from_canonical(y, numbers)

    return call


def _product_call(layer: Layer, after: list[str]) -> Call | None:
    """A product over the last axis of a map is a convolution with a window of one pixel."""
    shape, (channels, features) = layer.aval.shape, layer.kernel.shape
    rows = int(np.prod(shape[:-1]))
    if len(shape) < 3 or rows * channels * features < choose.LEAST_ONEDNN:
        return None

    def call(x: Any, kernel: Any, bias: Any, added: Any) -> jax.Array:
        x = x.reshape(shape[0], rows // shape[0], channels)
        operands = [] if bias is None else [bias]
        operands += [] if added is None else [added.reshape(shape[0], -1, features)]
        once = (1,)
        y = calls.convolution(
            x, kernel[None], once, ((0, 0),), once, after=after, operands=operands
        )
        return y.reshape(shape)

    return call
