"""Grad-CAM: the parts of the image that a prediction is based on.

Selvaraju et al. 2017, arXiv:1610.02391. It works on any Flax linen module, since it reaches the
layer by intercepting the calls of submodules. What it adds to a layer's output, and what it reads
of it, are collections of Flax variables: they go through `nn.remat` and `nn.jit`, which a tracer
kept aside does not.
"""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from cnn_jax.typing import Array, PyTree

_SHIFT, _SEEN = "grad_cam_shift", "grad_cam_seen"  # collections


def layer_shapes(model: nn.Module, variables: PyTree, x: Array, **call: Any) -> dict[str, tuple]:
    """The output shape of every submodule by its path, in the order of the calls.

    Only outputs that are one array are listed. Nothing is computed.

    Args:
        model: any Flax linen module.
        variables: variables of the model, or their shapes.
        x: input of the model, or its shape.
        **call: arguments of `model.apply` besides x: train=False.
    """
    shapes: dict[str, tuple] = {}

    def note(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        if context.method_name == "__call__" and hasattr(output, "shape") and context.module.path:
            shapes["/".join(context.module.path)] = tuple(output.shape)
        return output

    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: model.apply(v, x, **call), variables, x)
    return shapes


def last_spatial_layer(shapes: dict[str, tuple], rank: int) -> str:
    """The last layer with a spatial output: `rank` axes, of which the middle ones exceed 1.

    Raises:
        ValueError: there is none.
    """
    return next(_spatial_layers(shapes, rank))


def _spatial_layers(shapes: dict[str, tuple], rank: int) -> Iterator[str]:
    """The layers with a spatial output, the last first. Raises ValueError at the first."""
    names = [
        name
        for name, shape in reversed(shapes.items())
        if len(shape) == rank and all(size > 1 for size in shape[1:-1])
    ]
    if not names:
        raise ValueError("The network has no layer with a spatial output, which Grad-CAM needs.")
    yield from names


def grad_cam(
    model: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    class_index: Array | int | None = None,
    layer: str | None = None,
    score: Callable[[Any], Array] = lambda logits: logits,
    **call: Any,
) -> Array:
    """Class activation maps, weighted by gradients.

    Args:
        model: any Flax linen module.
        variables: variables of the model.
        x: inputs [B, *space, C].
        class_index: index of the class, one or [B]; by default that of the highest score.
        layer: path of the submodule whose output is weighted: 'layer4_2'. By default the last one
            with a spatial output that is called once.
        score: output of the model -> [B, K].
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        [B, *space'] at the layer's resolution, non-negative and unscaled.

    Raises:
        ValueError: there is no such layer, or it is called several times, or inside of a
            transformation such as `nn.scan`; the message names the layers that there are.
    """
    call = {"train": False, **call}
    shapes = layer_shapes(model, variables, x, **call)
    layer = _usable(model, variables, x, call, shapes, layer)
    path = tuple(layer.split("/"))

    def run(shift: Array) -> tuple[Array, Array]:
        """The chosen scores as a function of an offset of the layer's output, and that output."""
        offsets = flax.traverse_util.unflatten_dict({(*path, "shift"): shift})
        outputs, calls = _apply({**variables, _SHIFT: offsets}, model, x, layer, call)
        scores = score(outputs)  # [B, K]
        chosen = scores.argmax(-1) if class_index is None else class_index
        chosen = jnp.broadcast_to(jnp.asarray(chosen), scores.shape[:1])
        return jnp.take_along_axis(scores, chosen[:, None], axis=1).sum(), calls[0]

    gradient, output = jax.grad(run, has_aux=True)(jnp.zeros(shapes[layer], x.dtype))
    space = tuple(range(1, output.ndim - 1))
    weight = gradient.mean(space, keepdims=True)  # [B, 1, ..., C]
    return jax.nn.relu((weight * output).sum(-1))


def _apply(variables: PyTree, model: nn.Module, x: Array, layer: str, call: dict) -> tuple:
    """The outputs of the model, and those of each call of a layer, after its offset if there is
    one."""

    def intercept(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        scope = context.module.scope
        if context.method_name == "__call__" and "/".join(context.module.path) == layer:
            if scope.has_variable(_SHIFT, "shift"):
                output = output + scope.get_variable(_SHIFT, "shift")
            if scope.is_mutable_collection(_SEEN):
                calls = scope.get_variable(_SEEN, "calls", ())
                scope.put_variable(_SEEN, "calls", (*calls, output))
        return output

    mutable = flax.core.scope.union_filters(call.get("mutable", False), _SEEN)
    with nn.intercept_methods(intercept):
        outputs, changed = model.apply(variables, x, **{**call, "mutable": mutable})
    kept = dict(changed)
    found = flax.traverse_util.flatten_dict(kept.pop(_SEEN, {}))
    calls = found.get((*layer.split("/"), "calls"), ())
    return (outputs, kept) if call.get("mutable", False) is not False else outputs, calls


def _usable(
    model: nn.Module, variables: PyTree, x: Array, call: dict, shapes: dict, layer: str | None
) -> str:
    """The layer, or the last one that can be used.

    Raises:
        ValueError: it cannot be used, or none can.
    """
    if layer is not None and layer not in shapes:
        raise ValueError(f"There is no layer {layer!r}: choose from {', '.join(shapes)}.")
    reasons = []
    for name in _spatial_layers(shapes, x.ndim) if layer is None else (layer,):
        if not (why := _why_not(model, variables, x, call, name, shapes[name])):
            return name
        reasons.append(f"the layer {name!r} {why}")
    others = [name for name in shapes if name != layer]
    choice = f" Choose from {', '.join(others)}." if layer is not None and others else ""
    raise ValueError(f"Grad-CAM has no map: {'; '.join(reasons[:4])}.{choice}")


def _why_not(
    model: nn.Module, variables: PyTree, x: Array, call: dict, layer: str, shape: tuple
) -> str:
    """Why a layer cannot be used; '' if it can. Nothing is computed."""

    def outputs(variables: PyTree, x: Array) -> list[Array]:
        _, calls = _apply(variables, model, x, layer, call)
        return [each + 0 for each in calls]  # what came out of a branch cannot be used

    try:
        calls = jax.eval_shape(outputs, variables, x)
    except (TypeError, ValueError, KeyError, flax.errors.FlaxError):  # such as branches of nn.cond
        calls = []
    if len(calls) > 1:
        sizes = ", ".join("x".join(map(str, each.shape[1:])) for each in calls)
        return f"is called {len(calls)} times, with outputs of {sizes}"
    if not calls or tuple(calls[0].shape) != shape:
        return "is inside of a transformation such as nn.scan, which does not hand out its output"
    return ""
