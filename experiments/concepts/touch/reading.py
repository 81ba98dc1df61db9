"""Reads the layers of a network from its program.

The program is a jaxpr, so that a new network needs no line here, as long as its operations are
known. What depends on no pixel is computed here: batch normalisation becomes one factor and one
summand for each channel.
"""

import re
from typing import Any

import jax
import numpy as np
from jax.extend import core

from cnn_jax.typing import Network, PyTree
from experiments.concepts.touch.layers import KNOWN, Building, Layer, Live, UnknownLayer
from experiments.concepts.touch.rules import RULES

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where an equation keeps the program that it calls
_SAME = ("copy", "copy_p", "stop_gradient", "optimization_barrier")
_UNARY = {"logistic", "tanh", "erf", "erfc", "exp", "abs", "neg"}


def read(
    model: Network,
    variables: PyTree,
    image_shape: tuple[int, ...],
    *,
    mean: Any = 0.0,
    std: Any = 1.0,
) -> list[Layer]:
    """The layers of a network, in the order in which they run; the last gives the logits.

    Args:
        model: called as `model(image, train=False)`.
        variables: its variables.
        image_shape: (H, W, C), or (T, C) of a sequence.
        mean, std: what pixels in 0..1 are normalised with, per channel; the first layer does it.

    Raises:
        UnknownLayer: an operation that the page does not know.
    """
    if len(image_shape) not in (2, 3):
        raise UnknownLayer(
            f"The network takes inputs of shape {list(image_shape)}, and the page shows images and "
            "sequences: give a run of one of these."
        )
    mean, std = (np.asarray(each, np.float32) for each in (mean, std))

    def whole(x: Any) -> Any:
        if np.any(mean != 0) or np.any(std != 1):
            x = (x - mean) / std
        return model.apply(variables, x, train=False)  # type: ignore[attr-defined]

    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    program = jax.make_jaxpr(whole)(image)
    made = Building()
    given = made.add("input", "", (), (1, *image_shape))
    outputs = _walk(made, program, [given], "")
    if len(outputs) != 1 or not isinstance(outputs[0], Live):
        raise UnknownLayer("The network gives several outputs; the page shows one of logits.")
    return made.needed(outputs[0].number)


def _walk(made: Building, program: Any, inputs: list[Any], scope: str) -> list[Any]:
    """Runs a program on values: arrays, which are computed, and results of layers."""
    jaxpr = program.jaxpr if hasattr(program, "consts") else program
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        given = [value(atom) for atom in eqn.invars]
        own = f"{scope}/{getattr(eqn.source_info, 'name_stack', '')}"
        found = _equation(made, eqn, given, own)
        outputs = found if eqn.primitive.multiple_results else [found]
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _equation(made: Building, eqn: Any, given: list[Any], scope: str) -> Any:
    inner = next((eqn.params[key] for key in _INNER if key in eqn.params), None)
    if inner is not None and eqn.primitive.name not in ("scan", "while"):
        return _walk(made, inner, given, scope)
    if not any(isinstance(each, Live) for each in given):
        return eqn.primitive.bind(*given, **eqn.params)
    name = _module(scope)
    rule = RULES.get(eqn.primitive.name)
    try:
        if any(made.is_stale(each) for each in given):
            raise NotImplementedError("a layer that is read before and after its bias")
        if eqn.primitive.name in _SAME:
            return given[0]
        if eqn.primitive.name in _UNARY:
            (x,) = given
            return made.add("act", name, (x.number,), x.shape, kind=eqn.primitive.name)
        if rule is None:
            raise NotImplementedError
        return rule(made, eqn, given, name)
    except NotImplementedError as error:
        what = str(error) or eqn.primitive.name
        where = f" in {name}" if name else ""
        raise UnknownLayer(
            f"The page does not know the operation {what}{where}. It knows {KNOWN}."
        ) from error


def _module(scope: str) -> str:
    """'/Digit/conv1/jit(relu)' -> 'conv1': the module's path without its class and functions."""
    parts = [part for part in re.split(r"/", scope) if part and "(" not in part]
    return "/".join(parts[1:])
