"""Grad-CAM: the parts of the image that a prediction is based on.

Selvaraju et al. 2017, arXiv:1610.02391. It works on any Flax linen module, since it reaches the
layer by intercepting the calls of submodules.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.typing import Array, PyTree


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
    for name, shape in reversed(shapes.items()):
        if len(shape) == rank and all(size > 1 for size in shape[1:-1]):
            return name
    raise ValueError("The network has no layer with a spatial output, which Grad-CAM needs.")


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
            with a spatial output.
        score: output of the model -> [B, K].
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        [B, *space'] at the layer's resolution, non-negative and unscaled.

    Raises:
        ValueError: there is no such layer; the message names the layers.
    """
    call = {"train": False, **call}
    shapes = layer_shapes(model, variables, x, **call)
    layer = layer or last_spatial_layer(shapes, x.ndim)
    if layer not in shapes:
        raise ValueError(f"There is no layer {layer!r}: choose from {', '.join(shapes)}.")

    def run(shift: Array) -> tuple[Array, Array]:
        """The chosen scores as a function of an offset of the layer's output, and that output."""
        seen = {}

        def intercept(next_function, args, kwargs, context):
            output = next_function(*args, **kwargs)
            if context.method_name == "__call__" and "/".join(context.module.path) == layer:
                output = seen["output"] = output + shift
            return output

        with nn.intercept_methods(intercept):
            scores = score(model.apply(variables, x, **call))  # [B, K]
        chosen = scores.argmax(-1) if class_index is None else class_index
        chosen = jnp.broadcast_to(jnp.asarray(chosen), scores.shape[:1])
        return jnp.take_along_axis(scores, chosen[:, None], axis=1).sum(), seen["output"]

    gradient, output = jax.grad(run, has_aux=True)(jnp.zeros(shapes[layer], x.dtype))
    space = tuple(range(1, output.ndim - 1))
    weight = gradient.mean(space, keepdims=True)  # [B, 1, ..., C]
    return jax.nn.relu((weight * output).sum(-1))
