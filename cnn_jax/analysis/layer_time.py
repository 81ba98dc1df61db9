"""Times each layer, compiled and run by itself.

Inside a compiled network the layers are fused and cannot be timed. By itself a layer loses what
fusion saves, so shares are of the sum of the layers, not of the network.
"""

import statistics
import time
from typing import Any

import flax.linen as nn
import jax

from cnn_jax.typing import Array, PyTree


def layer_seconds(
    model: nn.Module, variables: PyTree, x: Array, *, repeats: int = 5, **call: Any
) -> dict[str, float]:
    """The median time of a call of every submodule without submodules, in evaluation mode.

    Operations between the modules (activations, pooling, additions) are not timed. Equal layers are
    timed once.

    Args:
        model: any Flax linen module.
        variables: variables of the model.
        x: inputs [B, *space, C].
        repeats: number of timed calls, after one that compiles.
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        path -> seconds, in the order of the calls; the sum for a module that is called twice.
    """
    calls: list[tuple[str, Any, PyTree, tuple, dict]] = []

    def note(next_function, args, kwargs, context):
        if context.method_name == "__call__" and context.module.path:
            module = context.module
            name = "/".join(module.path)
            shapes = jax.tree.map(_shape_of, (args, kwargs))
            calls.append((name, module.clone(parent=None), module.variables, *shapes))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(note):
        # nothing is computed, but the layers have their variables
        jax.eval_shape(lambda x: model.apply(variables, x, **{"train": False, **call}), x)
    paths = [name for name, *_ in calls]
    leaves = {p for p in paths if not any(other.startswith(f"{p}/") for other in paths)}
    measured: dict[Any, float] = {}
    seconds: dict[str, float] = {}
    for path, module, own, args, kwargs in calls:
        if path not in leaves:
            continue
        alike = (repr(module.clone(name=None)), str((jax.tree.map(_shape_of, own), args, kwargs)))
        if alike not in measured:
            measured[alike] = _median(module, own, args, kwargs, repeats)
        seconds[path] = seconds.get(path, 0.0) + measured[alike]
    return seconds


def _shape_of(leaf: Any) -> Any:
    is_array = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_array else leaf


def _median(module: nn.Module, own: PyTree, args: tuple, kwargs: dict, repeats: int) -> float:
    x, *rest = args
    x = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
    run = jax.jit(lambda own, x: module.apply(own, x, *rest, **kwargs))
    jax.block_until_ready(run(own, x))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run(own, x))
        times.append(time.perf_counter() - began)
    return statistics.median(times)
