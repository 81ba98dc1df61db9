"""Freezes a function and its variables into one program for inference."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.cpu import flat, folding, frozen_layers, registry, verdict
from cnn_jax.cpu.flat import Operation, Slot
from cnn_jax.cpu.folding import Layer
from cnn_jax.cpu.frozen_layers import Run


class Counts(NamedTuple):
    """What freezing did to a function.

    Attributes:
        layers: convolutions and products whose kernels are known.
        folded: operations that became part of one of these.
        calls: layers that call oneDNN in a program for one CPU: once for all that was folded
            into them, or for the products of Winograd's method.
        operations: operations that are left beside the layers.
    """

    layers: int
    folded: int
    calls: int
    operations: int

    def __str__(self) -> str:
        return (
            f"{self.layers} layers with {self.folded} operations folded into them, "
            f"{self.calls} by oneDNN, {self.operations} operations beside them"
        )


class Frozen:
    """A function for inference, whose variables are part of it; see `freeze`.

    It is traced and compiled once for each structure, shape and dtype of its inputs.
    """

    def __init__(self, function: Callable, variables: Any, onednn: bool):
        self._function, self._onednn = function, onednn
        self._variables = jax.tree.map(_own, variables)
        self._programs: dict[Any, tuple[Callable, list[Any], Any, Counts]] = {}
        self._arrays: dict[Any, jax.Array] = {}  # programs of other shapes share what is equal
        self._one_at_a_time = threading.RLock()

    def __call__(self, *inputs: Any) -> Any:
        program, weights, tree, _ = self._for(inputs)
        return jax.tree.unflatten(tree, program(weights, *jax.tree.leaves(inputs)))

    def counts(self, *inputs: Any) -> Counts:
        """What was folded for inputs of these shapes (arrays, or jax.ShapeDtypeStruct)."""
        return self._for(inputs)[-1]

    def _for(self, inputs: tuple[Any, ...]) -> tuple[Callable, list[Any], Any, Counts]:
        leaves, tree = jax.tree.flatten(inputs)
        like = [jax.ShapeDtypeStruct(np.shape(leaf), _dtype(leaf)) for leaf in leaves]
        key = tree, tuple((each.shape, each.dtype) for each in like)
        with self._one_at_a_time:
            if key not in self._programs:
                self._programs[key] = self._compiled(tree, like)
            return self._programs[key]

    def _compiled(self, tree: Any, like: list[jax.ShapeDtypeStruct]) -> Any:
        run, weights, out, counts = folded(
            self._function, self._variables, *jax.tree.unflatten(tree, like), onednn=self._onednn
        )
        with jax.ensure_compile_time_eval():
            return jax.jit(run), [*map(self._placed, weights)], out, counts

    def _placed(self, weight: Any) -> Any:
        if not isinstance(weight, np.ndarray):
            return jnp.array(weight)
        key = (
            weight.shape,
            weight.dtype,
            hashlib.sha1(weight.tobytes(), usedforsecurity=False).digest(),
        )
        if key not in self._arrays:
            self._arrays[key] = jnp.array(weight)
        return self._arrays[key]


def _own(leaf: Any) -> Any:
    """A copy of an array: the caller may write to it, donate it or delete it."""
    return leaf.copy() if isinstance(leaf, (np.ndarray, jax.Array)) else leaf


def _dtype(leaf: Any) -> Any:
    """The dtype that JAX gives it."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    extended = jax.dtypes.issubdtype(dtype, jax.dtypes.extended)  # keys of random numbers
    return dtype if extended else jax.dtypes.canonicalize_dtype(dtype)


def freeze(function: Callable, variables: Any, *, onednn: bool = True) -> Frozen:
    """A function for inference: `function(variables, *inputs)` with these variables for good.

        frozen = cnn_jax.cpu.freeze(lambda v, x: model.apply(v, x, train=False), variables)
        logits = frozen(images)

    What depends on the variables alone is computed once. Batch norm's scale and shift, a bias, a
    residual sum and an activation function become part of the convolution or product before them,
    so that each map is written once; where oneDNN can be used, one call does it all. The results
    are those of `function` up to rounding: 1e-5 of the largest for this project's networks (1.2e-5
    was seen after 200 layers).

    Any function of JAX will do: of Flax, Equinox, Haiku, or none of these. On other platforms than
    a CPU and in half precision it is the same function, with what can be folded there.

    Args:
        function: a pure function of the variables and any number of inputs (trees of arrays).
        variables: its first argument, of any kind; later changes to them have no effect.
        onednn: whether layers may call oneDNN, where a program is for one CPU and `status` says
            that it can be used. Programs that are exported, divided among devices, differentiated
            or mapped make no such calls, and neither do those on other platforms.

    Returns:
        The function of the inputs. `counts` says what was folded.
    """
    return Frozen(function, variables, onednn)


def folded(
    function: Callable, variables: Any, *like: Any, onednn: bool = True
) -> tuple[Callable[..., list[jax.Array]], list[Any], Any, Counts]:
    """The program behind `freeze`, for inputs of one kind.

    Returns:
        A function of (weights, *leaves of the inputs) that gives the leaves of the outputs; the
        weights; the tree of the outputs; and what was folded.
    """
    calls = onednn and jax.default_backend() == "cpu" and verdict.verdict().works
    by_winograd = calls or (onednn and registry.installed())
    traced, out = jax.make_jaxpr(partial(function, variables), return_shape=True)(*like)
    weights: list[Any] = []
    runs, as_calls = [], 0
    with jax.ensure_compile_time_eval():  # it may be within another program that is traced
        steps, outputs = folding.fold(program := flat.flatten(traced))
        for step in steps:
            if isinstance(step, Layer):
                run_one, is_call = frozen_layers.write(step, weights, calls, by_winograd)
                as_calls += is_call
            else:
                run_one = _operation(step, weights)
            runs.append(run_one)
    layers = [step for step in steps if isinstance(step, Layer)]
    counts = Counts(
        layers=len(layers),
        folded=sum(layer.folded for layer in layers),
        calls=as_calls,
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


def _operation(each: Operation, weights: list[Any]) -> Run:
    reads = [frozen_layers.reader(value, weights) for value in each.inputs]
    eqn, outputs = each.eqn, each.outputs

    def run(weights: Sequence[Any], values: dict[Slot, Any]) -> None:
        made = flat.compute(eqn, [read(weights, values) for read in reads])
        values.update(zip(outputs, made, strict=True))

    return run
