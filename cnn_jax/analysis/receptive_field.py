"""Receptive fields: the inputs that an output can depend on, and how much it depends on each.

The theoretical receptive field of a unit is the window of the input that is connected to it (Araujo
et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks", doi:10.23915/distill
.00021). The effective one is how much each input in it matters: it is far smaller, and fades from
the middle like a bell (Luo et al. 2016, arXiv:1701.04128).
"""

import inspect
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from cnn_jax.analysis.dependence import named_intervals
from cnn_jax.analysis.intervals import Interval
from cnn_jax.typing import Array, PyTree

SIDES = (1024, 4096, 16384)  # sides of the inputs tried, until the border cuts off no field


class ReceptiveField(NamedTuple):
    """Output i sees the inputs start + i * stride .. start + i * stride + size - 1.

    Attributes:
        size: size in input pixels; the largest, if outputs differ; None if it is the whole input,
            as after a mean over all positions or a squeeze-and-excitation.
        stride: input pixels from one output to the next; a fraction if the network upsamples.
        start: first input pixel of output 0, negative in the padding. The middle of output i is
            start + (size - 1) / 2 + i * stride. With padding='SAME' and a stride the padding
            depends on the side of the input: these values are for SIDES, powers of two.
    """

    size: int | None
    stride: Fraction | None = None
    start: Fraction | None = None


def receptive_fields(
    model: nn.Module, *, rank: int = 2, channels: int = 3, axis: int = 0, **call: Any
) -> dict[str, ReceptiveField]:
    """The theoretical receptive field of every layer, far from the border.

    They are read from the jaxpr: no parameters are created and nothing is computed. This handles
    strides, dilation, pooling, transposed convolution, resizing, residuals, and other modules.

    >>> model = nn.Sequential([nn.Conv(8, (3, 3), strides=2), nn.Conv(8, (3, 3))])
    >>> {name: field.size for name, field in receptive_fields(model).items()}
    {'layers_0': 3, 'layers_1': 7, '': 7}

    Args:
        model: any Flax linen module that takes inputs of any size. It is called with `train=False`
            if it has such an argument, unless `call` says otherwise.
        rank: number of spatial axes of the input.
        channels: channels of the input.
        axis: the spatial axis to follow, 0..rank-1.
        **call: further arguments of the call: train=False.

    Returns:
        path of a submodule, in the order of the calls, -> ReceptiveField; the outputs of the model
        itself are under their names, or '' if it is one array. Layers that do not depend on the
        input, or have an output that is not an array, are left out.

    Raises:
        ValueError: axis is not one of the input's.
    """
    if not 0 <= axis < rank:
        raise ValueError(f"axis={axis}: give one of the {rank} spatial axes, 0 to {rank - 1}.")
    fields: dict[str, ReceptiveField] = {}
    for side in SIDES:
        intervals = _intervals(model, side, rank, channels, axis, call)
        larger = {name: _field(interval) for name, interval in intervals.items()}
        fields = {name: fields[name] if _known(fields, name) else larger[name] for name in larger}
        cut_off = [name for name in fields if not _known(fields, name)]
        if all(len(intervals[name].low) == 1 for name in cut_off):  # the axis itself is gone
            break
    return fields


def _known(fields: dict[str, ReceptiveField], name: str) -> bool:
    return name in fields and fields[name].size is not None


def _intervals(model, side, rank, channels, axis, call) -> dict[str, Interval]:
    # only the followed axis is long: the others are as long as the layers' windows need
    space = [256] * rank
    space[axis] = side
    x = jax.ShapeDtypeStruct((1, *space, channels), jnp.float32)

    def run(x):
        with nn.intercept_methods(_named):
            outputs, _ = model.init_with_output(jax.random.key(0), x, **_call(model, call))
        return outputs

    jaxpr, outputs = jax.make_jaxpr(run, return_shape=True)(x)
    intervals = named_intervals(jaxpr, 0, 1 + axis)
    leaves = jax.tree_util.tree_leaves_with_path(outputs)
    for i, (path, _) in enumerate(leaves):
        if interval := intervals.pop(f"output {i}", None):
            intervals[jax.tree_util.keystr(path, simple=True, separator="/")] = interval
    return intervals


def _named(next_function, args, kwargs, context):
    """Names the output of each submodule in the jaxpr by its path."""
    output = next_function(*args, **kwargs)
    if context.method_name == "__call__" and context.module.path and hasattr(output, "shape"):
        return checkpoint_name(output, "/".join(context.module.path))
    return output


def _call(model: nn.Module, call: dict[str, Any]) -> dict[str, Any]:
    takes = inspect.signature(type(model).__call__).parameters
    return {"train": False, **call} if "train" in takes else call


def _field(interval: Interval) -> ReceptiveField:
    """Size, stride and start of the outputs that the border does not cut off."""
    _, low, high, cut = interval
    inner = np.flatnonzero(~cut & (low <= high))
    if interval.axis is None or len(inner) < 3:
        return ReceptiveField(None)
    size = int((high[inner] - low[inner]).max()) + 1
    first, last = int(inner[0]), int(inner[-1])
    # outputs of an upsampling layer alternate: the average over many of them counts
    stride = Fraction(int(low[last] - low[first]), last - first).limit_denominator(64)
    return ReceptiveField(size, stride, int(low[first]) - first * stride)


def effective_receptive_field(
    model: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    layer: str | None = None,
    **call: Any,
) -> np.ndarray:
    """How much each input matters to the unit in the middle of a layer.

    It is the absolute gradient of the middle unit, summed over its channels with random signs and
    over the channels of the input, and averaged over the batch (Luo 2016, section 3).

    Args:
        model: any Flax linen module.
        variables: variables of the model.
        x: inputs [B, *space, C].
        layer: path of a submodule with a spatial output; the model's output by default.
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        float64 [*space], with sum 1.

    Raises:
        ValueError: there is no such layer, the output has no spatial axes, or the gradient is 0
            everywhere.
    """
    gradient = np.asarray(middle_gradient(model, variables, x, layer=layer, **call), np.float64)
    if not gradient.sum():
        raise ValueError(
            "The middle unit does not depend on the input, because its ReLUs are all off: give "
            "other inputs or weights."
        )
    return gradient / gradient.sum()


def middle_gradient(
    model: nn.Module, variables: PyTree, x: Array, *, layer: str | None = None, **call: Any
) -> Array:
    """`effective_receptive_field` before scaling to a sum of 1: [*space]. It can be jitted."""
    call = _call(model, call)

    def middle(x: Array) -> Array:
        seen = {}

        def intercept(next_function, args, kwargs, context):
            output = next_function(*args, **kwargs)
            if context.method_name == "__call__" and "/".join(context.module.path) == layer:
                seen["output"] = output
            return output

        with nn.intercept_methods(intercept):
            output = model.apply(variables, x, **call)
        if layer is not None and "output" not in seen:
            raise ValueError(
                f"There is no layer {layer!r}; `receptive_fields` lists the layers of a network."
            )
        output = seen.get("output", output)
        if getattr(output, "ndim", 0) != x.ndim:
            raise ValueError("The output has no spatial axes: name a layer that has some.")
        centre = output[(slice(None), *(size // 2 for size in output.shape[1:-1]))]  # [B, C]
        signs = jax.random.rademacher(jax.random.key(0), centre.shape, output.dtype)
        return (centre * signs).sum()

    return jnp.abs(jax.grad(middle)(x)).sum(-1).mean(0)


def effective_side(weights: np.ndarray, *, share: float = 0.9545) -> float:
    """The side of the centred square that holds the fraction `share` of the weight, in pixels.

    The default is the weight of a normal distribution within two deviations, Luo 2016's measure.

    Args:
        weights: [*space], with sum 1: `effective_receptive_field`.
        share: fraction of the weight, in (0, 1).
    """
    centre = _centroid(weights)
    distance = np.zeros(weights.shape)
    for axis, middle in enumerate(centre):
        shape = [-1 if other == axis else 1 for other in range(weights.ndim)]
        along = np.abs(np.arange(weights.shape[axis]) - middle).reshape(shape)
        distance = np.maximum(distance, along)
    order = np.argsort(distance, axis=None)
    reached = int(np.searchsorted(np.cumsum(weights.ravel()[order]), share))
    return float(2 * distance.ravel()[order[min(reached, order.size - 1)]] + 1)


def _centroid(weights: np.ndarray) -> Sequence[float]:
    return [
        float(
            (weights.sum(tuple(a for a in range(weights.ndim) if a != axis)) * np.arange(n)).sum()
        )
        for axis, n in enumerate(weights.shape)
    ]
