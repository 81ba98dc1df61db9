"""JAX's convolutions, pooling and products as operators of ONNX."""

from typing import Any

import numpy as np

from cnn_jax.run.exporting.onnx_graph import Graph, Value


def _convolution(g: Graph, eqn: Any, values: list[Value]) -> str:
    p = eqn.params
    numbers = p["dimension_numbers"]
    if p["batch_group_count"] != 1:
        raise NotImplementedError("a convolution with groups of the batch")
    x = g.transpose(g.name(values[0]), numbers.lhs_spec)  # [B, C, *space]
    w = values[1]
    if isinstance(w, np.ndarray):
        w = w.transpose(numbers.rhs_spec)  # [O, I, *window]
    else:
        w = g.transpose(g.name(w), numbers.rhs_spec)
    groups, pads = p["feature_group_count"], [tuple(map(int, pair)) for pair in p["padding"]]
    if max(p["lhs_dilation"]) > 1:
        y = _transposed(g, x, w, p, groups, pads)
    else:
        if min(min(pair) for pair in pads) < 0:
            raise NotImplementedError("a convolution with negative padding")
        y = g.node(
            "Conv",
            x,
            g.name(w),
            strides=list(p["window_strides"]),
            dilations=list(p["rhs_dilation"]),
            group=groups,
            pads=[low for low, _ in pads] + [high for _, high in pads],
        )
    return g.transpose(y, np.argsort(numbers.out_spec).tolist())


def _transposed(g: Graph, x: str, w: Value, p: Any, groups: int, pads: list) -> str:
    """A convolution of an input with zeros in between: ONNX mirrors the kernel, JAX does not."""
    if not isinstance(w, np.ndarray) or groups > 1 or max(p["window_strides"]) > 1:
        raise NotImplementedError("this transposed convolution")
    reach = [(k - 1) * d for k, d in zip(w.shape[2:], p["rhs_dilation"], strict=True)]
    begin = [r - low for r, (low, _) in zip(reach, pads, strict=True)]
    end = [r - high for r, (_, high) in zip(reach, pads, strict=True)]
    if min(begin) < 0:
        raise NotImplementedError("this padding of a transposed convolution")
    kernel = np.flip(w, tuple(range(2, w.ndim))).swapaxes(0, 1)  # [I, O, *window]
    return g.node(
        "ConvTranspose",
        x,
        g.constant(np.ascontiguousarray(kernel)),
        strides=list(p["lhs_dilation"]),
        dilations=list(p["rhs_dilation"]),
        pads=[*begin, *(max(n, 0) for n in end)],
        output_padding=[max(-n, 0) for n in end],
    )


def _pooling(g: Graph, eqn: Any, values: list[Value], op: str, **attributes: Any) -> tuple:
    """(pooled, number of elements in a window), for windows over all axes but first and last."""
    p = eqn.params
    window, strides = p["window_dimensions"], p["window_strides"]
    dilations, pads = p["window_dilation"], p["padding"]
    outer = [window[0], window[-1], strides[0], strides[-1], *pads[0], *pads[-1]]
    if len(window) < 3 or outer != [1, 1, 1, 1, 0, 0, 0, 0] or max(p["base_dilation"]) > 1:
        raise NotImplementedError(f"windows of {tuple(window)}")
    rank = len(window)
    x = g.transpose(g.name(values[0]), [0, rank - 1, *range(1, rank - 1)])
    if max(dilations) > 1:
        attributes["dilations"] = list(dilations[1:-1])
    inner = [tuple(map(int, pair)) for pair in pads[1:-1]]
    if any(max(pair) >= size for pair, size in zip(inner, window[1:-1], strict=True)):
        raise NotImplementedError("padding as wide as the window")
    y = g.node(
        op,
        x,
        kernel_shape=list(window[1:-1]),
        strides=list(strides[1:-1]),
        pads=[low for low, _ in inner] + [high for _, high in inner],
        **attributes,
    )
    return g.transpose(y, [0, *range(2, rank), 1]), int(np.prod(window))


def _maximum(g: Graph, eqn: Any, values: list[Value]) -> str:
    return _pooling(g, eqn, values, "MaxPool")[0]


def _sum(g: Graph, eqn: Any, values: list[Value]) -> str:
    if max(eqn.params["window_dilation"]) > 1:
        raise NotImplementedError("a mean over windows with holes")
    mean, count = _pooling(g, eqn, values, "AveragePool", count_include_pad=1)
    return g.node("Mul", mean, g.constant(count, eqn.outvars[0].aval.dtype))


def _product(g: Graph, eqn: Any, values: list[Value]) -> str:
    (left, right), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    ranks = [len(var.aval.shape) for var in eqn.invars]
    names = [g.name(value) for value in values]
    plain = (tuple(left), tuple(right)) == ((ranks[0] - 1,), (0,)) and not left_batch
    if plain and ranks[1] == 2 and ranks[0] >= 2:
        return g.node("MatMul", *names)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    axes: list[dict[int, str]] = [{}, {}]
    for one, two in (*zip(left_batch, right_batch, strict=True), *zip(left, right, strict=True)):
        axes[0][one] = axes[1][two] = next(letters)
    result = [axes[0][axis] for axis in left_batch]
    for own, rank in zip(axes, ranks, strict=True):
        for axis in range(rank):
            if axis not in own:
                own[axis] = next(letters)
                result.append(own[axis])
    sides = [
        "".join(own[axis] for axis in range(rank)) for own, rank in zip(axes, ranks, strict=True)
    ]
    return g.node("Einsum", *names, equation=f"{','.join(sides)}->{''.join(result)}")


RULES = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "reduce_window_max": _maximum,
    "reduce_window_sum": _sum,
}
