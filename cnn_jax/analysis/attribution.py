"""Attribution of a prediction to inputs: plain, guided or integrated gradients.

`gradient` is the derivative of a score by each input (Simonyan et al. 2014, arXiv:1312.6034).
`guided` also drops negative gradients at every ReLU (Springenberg et al. 2015, arXiv:1412.6806):
the map is clear, but shows mostly edges, whatever the weights are (Adebayo et al. 2018,
arXiv:1810.03292). `integrated_gradients` add up to the difference that the input makes
(Sundararajan et al. 2017, arXiv:1703.01365). All work on any Flax linen module, ours or not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from cnn_jax.typing import Array, PyTree

Score = Callable[[Any], Array]  # output of the model -> [B, K]
# equation of a jaxpr, values of its inputs -> its outputs, or None: to be evaluated as it is
Rule = Callable[[core.JaxprEqn, list[Any]], list[Any] | None]


def gradient(
    model: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    class_index: Array | int | None = None,
    score: Score = lambda logits: logits,
    **call: Any,
) -> Array:
    """The gradient of the score of a class with respect to the input.

    Args:
        model: any Flax linen module.
        variables: variables of the model.
        x: inputs [B, *space, C].
        class_index: index of the class, one or [B]; by default that of the highest score.
        score: output of the model -> [B, K].
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        [B, *space, C].
    """
    total = _score_of(model, variables, x, class_index, score, call)
    return jax.jit(jax.grad(lambda x: total(x).sum()))(x)


def guided(
    model: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    class_index: Array | int | None = None,
    score: Score = lambda logits: logits,
    **call: Any,
) -> Array:
    """Guided backpropagation: the gradient with negative values dropped at each ReLU.

    A ReLU is `nn.relu`, `jax.nn.relu6` or `jnp.maximum(x, 0)`, outside of loops (`nn.scan`). Other
    activations are differentiated as usual.

    Args and returns: see `gradient`.

    Raises:
        ValueError: the network has no ReLU.
    """
    total = _score_of(model, variables, x, class_index, score, call)
    closed = jax.make_jaxpr(lambda x: total(x).sum())(x)
    found: list[str] = []

    def rule(equation: core.JaxprEqn, values: list[Any]) -> list[Any] | None:
        if not _is_relu(equation):
            return None
        found.append(equation.primitive.name)
        return [_guided_relu(values[0])]

    run = jax.jit(jax.grad(lambda x: _run(closed.jaxpr, closed.consts, [x], rule)[0]))
    result = run(x)
    if not found:
        raise ValueError(
            "The network has no ReLU, so that guided backpropagation would be its plain gradient: "
            "use `gradient`."
        )
    return result


def integrated_gradients(
    model: nn.Module,
    variables: PyTree,
    x: Array,
    *,
    baseline: Array | float = 0.0,
    steps: int = 50,
    class_index: Array | int | None = None,
    score: Score = lambda logits: logits,
    **call: Any,
) -> Array:
    """Integrated gradients: (x - baseline) times the mean gradient on the straight line between.

    They are complete: their sum is the score of x minus that of the baseline (the axiom in section
    3 of the paper), up to the error of approximating the integral, here by the midpoint rule.

    Args:
        model, variables, x, class_index, score, **call: see `gradient`. The class is that of x.
        baseline: an uninformative input, broadcast against x: black, or the mean of the data.
        steps: number of terms of the sum; the paper finds 20 to 300 enough.

    Returns:
        [B, *space, C].

    Raises:
        ValueError: steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: give 1 or more.")
    total = _score_of(model, variables, x, class_index, score, call)
    baseline = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)

    def add(so_far: Array, share: Array) -> tuple[Array, None]:
        at = baseline + share * (x - baseline)
        return so_far + jax.grad(lambda x: total(x).sum())(at), None

    shares = (jnp.arange(steps, dtype=x.dtype) + 0.5) / steps
    summed, _ = jax.lax.scan(add, jnp.zeros_like(x), shares)
    return (x - baseline) * summed / steps


def features(
    model: nn.Module, variables: PyTree, x: Array, *, layers: Sequence[str] = (), **call: Any
) -> dict[str, Array]:
    """The outputs of the submodules, by path, in the order of the calls.

    Args:
        model: any Flax linen module.
        variables: variables of the model.
        x: inputs [B, *space, C].
        layers: paths such as 'layer1_0/conv1'; empty for all whose output is one array.
        **call: arguments of `model.apply` besides x; train=False unless given.

    Returns:
        path -> output; the last output of a module that is called several times.

    Raises:
        ValueError: there is no such layer; the message names the layers.
    """
    seen: dict[str, Array] = {}

    def note(next_function, args, kwargs, context):
        output = next_function(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path and hasattr(output, "shape"):
            seen["/".join(context.module.path)] = output
        return output

    with nn.intercept_methods(note):
        model.apply(variables, x, **{"train": False, **call})
    if missing := [layer for layer in layers if layer not in seen]:
        raise ValueError(f"There is no layer {missing[0]!r}: choose from {', '.join(seen)}.")
    return {layer: seen[layer] for layer in layers or seen}


def max_pools(model: nn.Module, variables: PyTree, x: Array, **call: Any) -> dict[str, Array]:
    """The outputs of the max poolings, which are no modules, in the order of the calls.

    Args:
        model, variables, x, **call: see `features`.

    Returns:
        'max pool 1, 2x2' -> [B, *space, C]; only those that make the maps smaller.
    """
    call = {"train": False, **call}
    closed = jax.make_jaxpr(lambda x: model.apply(variables, x, **call))(x)
    seen: dict[str, Array] = {}

    def rule(equation: core.JaxprEqn, values: list[Any]) -> list[Any] | None:
        if equation.primitive.name != "reduce_window_max":
            return None
        outputs = _bind(equation, values)
        if max(equation.params["window_strides"]) > 1:
            sides = "x".join(str(side) for side in equation.params["window_dimensions"][1:-1])
            seen[f"max pool {len(seen) + 1}, {sides}"] = outputs[0]
        return outputs

    _run(closed.jaxpr, closed.consts, [x], rule)
    return seen


def _score_of(model, variables, x, class_index, score, call) -> Callable[[Array], Array]:
    """x -> [B], the score of the requested class, or of the one with the highest score for x."""
    call = {"train": False, **call}

    def scores(x: Array) -> Array:
        return score(model.apply(variables, x, **call))  # [B, K]

    chosen = scores(x).argmax(-1) if class_index is None else class_index
    chosen = jnp.broadcast_to(jnp.asarray(chosen), x.shape[:1])
    return lambda x: jnp.take_along_axis(scores(x), chosen[:, None], axis=1)[:, 0]


@jax.custom_vjp
def _guided_relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


_guided_relu.defvjp(
    lambda x: (jnp.maximum(x, 0), x > 0),
    lambda on, above: (jnp.where(on & (above > 0), above, 0),),
)


def _run(jaxpr: core.Jaxpr, consts, inputs, rule: Rule) -> list[Any]:
    """Evaluates a jaxpr, and those equations for which it returns outputs by the rule."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else known[variable]

    for equation in jaxpr.eqns:
        values = [read(variable) for variable in equation.invars]
        inner = next(
            (equation.params[key] for key in ("jaxpr", "call_jaxpr") if key in equation.params),
            None,
        )
        outputs = rule(equation, values)
        if outputs is not None:
            pass
        elif inner is not None and _is_transparent(equation):
            closed = inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
            outputs = _run(closed.jaxpr, closed.consts, values, rule)
        else:
            outputs = _bind(equation, values)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _bind(equation: core.JaxprEqn, values: list[Any]) -> list[Any]:
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # JAX before 0.10
    outputs = equation.primitive.bind(*functions, *values, **params)
    return outputs if equation.primitive.multiple_results else [outputs]


def _is_transparent(equation: core.JaxprEqn) -> bool:
    """Whether the inner jaxpr may be evaluated in place of the equation: it has no own gradient."""
    name = equation.primitive.name
    if name == "custom_jvp_call":  # jax.nn's functions, which contain one jitted function
        inner = equation.params["call_jaxpr"].jaxpr.eqns
        return len(inner) == 1 and inner[0].params.get("name") in ("relu", "relu6")
    return name in ("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint")


def _is_relu(equation: core.JaxprEqn) -> bool:
    """Whether it is `jax.nn.relu`, a jitted function of this name, or a maximum with 0."""
    if equation.params.get("name") == "relu" and len(equation.invars) == 1:
        return True
    if equation.primitive.name != "max":
        return False
    other = equation.invars[1]
    return isinstance(other, core.Literal) and jnp.ndim(other.val) == 0 and other.val == 0
