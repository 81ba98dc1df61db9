"""A table of the layers of a network: output, parameters, multiply-adds, receptive field.

print(summary.text(summary.summarise(create("resnet18", num_classes=1000), (224, 224, 3))))
"""

import inspect
import io
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import rich.table

from cnn_jax.analysis.flops import equation_costs
from cnn_jax.printable import PlainConsole


class Layer(NamedTuple):
    """One submodule that has parameters or multiply-adds of its own, or an output that changes.

    Attributes:
        path: 'layer1_0/conv1'; '' for the network itself.
        kind: the class of the module: 'Conv'.
        output: shape of its output for one input, without the batch; None if it is not an array.
        parameters: number of parameters of the module itself, without its submodules.
        multiply_adds: number of multiply-adds, likewise, for one input, in evaluation mode.
    """

    path: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    multiply_adds: int


def summarise(model: nn.Module, input_shape: tuple[int, ...], **call: Any) -> list[Layer]:
    """Every submodule in the order of the calls, and the network itself last.

    Nothing is computed. A module that is called twice is listed once, with the cost of both calls.

    Args:
        model: any Flax linen module.
        input_shape: (*space, C) of one input.
        **call: further arguments of the model; train=False unless given, if it has such an
            argument.
    """
    if "train" in inspect.signature(type(model).__call__).parameters:
        call = {"train": False, **call}
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, **call), x)
    seen: dict[str, tuple[str, tuple[int, ...] | None]] = {}

    def note(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        if context.method_name == "__call__":
            shape = tuple(output.shape[1:]) if hasattr(output, "shape") else None
            seen["/".join(context.module.path)] = (type(context.module).__name__, shape)
        return output

    with nn.intercept_methods(note):
        jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, **call))(variables, x)
    costs = Counter[str]()
    for scopes, cost, times in equation_costs(jaxpr.jaxpr):
        costs[_module_of(scopes, seen)] += cost * times
    own = Counter[str]()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]):
        owner = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        own[owner] += int(np.prod(leaf.shape))
    for owner in own:  # a module that was called through another method than __call__
        seen.setdefault(owner, ("", None))
    return [
        Layer(path, kind, shape, own[path], costs[path]) for path, (kind, shape) in seen.items()
    ]


def _module_of(scopes: tuple[str, ...], paths: dict) -> str:
    """The path of the deepest module among the scopes, without the root and method names."""
    path = ""
    for name in scopes:
        name = re.sub(r"\..*|^\w+\(|\)$", "", name)  # 'Block.method', 'checkpoint(Block)'
        longer = f"{path}/{name}" if path else name
        if longer in paths:
            path = longer
    return path


def text(
    layers: list[Layer], *, seconds: Mapping[str, float] | None = None, width: int = 110
) -> str:
    """A text table of the layers and the totals.

    Args:
        layers: result of `summarise`.
        seconds: path -> time of a layer, see `layer_time.layer_seconds`, shown as shares of their
            sum; None for no such column.
        width: width of the table in characters.
    """
    table = rich.table.Table()
    for heading, justify in (
        ("layer", "left"),
        ("kind", "left"),
        ("output", "right"),
        ("parameters", "right"),
        ("multiply-adds", "right"),
        *([("share of time", "right")] if seconds else []),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    shown = [layer for layer in layers if layer.parameters or layer.multiply_adds]
    for layer in shown:
        output = "" if layer.output is None else "x".join(map(str, layer.output))
        table.add_row(
            layer.path,
            layer.kind,
            output,
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            *([f"{seconds.get(layer.path, 0) / sum(seconds.values()):.1%}"] if seconds else []),
        )
    table.add_section()
    parameters = sum(layer.parameters for layer in layers)
    cost = sum(layer.multiply_adds for layer in layers)
    whole = [f"{1e3 * sum(seconds.values()):.2f} ms"] if seconds else []
    table.add_row("total", "", "", f"{parameters:,}", f"{cost:,}", *whole)
    console = PlainConsole(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def total(layers: list[Layer]) -> dict[str, int]:
    """{'parameters', 'multiply_adds'} of all layers."""
    return {
        "parameters": sum(layer.parameters for layer in layers),
        "multiply_adds": sum(layer.multiply_adds for layer in layers),
    }
