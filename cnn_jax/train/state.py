"""The state of a training run: arrays only."""

import dataclasses
import warnings
from functools import partial

import flax
import jax
import jax.numpy as jnp
import optax

from cnn_jax import jax_internals
from cnn_jax.train.nonfinite import Guard, make_guard
from cnn_jax.typing import Array, Network, PyTree


@flax.struct.dataclass
class TrainState:
    """Everything that a checkpoint must hold for the run to go on as if never stopped.

    Attributes:
        step: int32 scalar, number of updates made.
        params: the trainable parameters, float32.
        model_state: the other collections of the model; batch-norm statistics, float32.
        opt_state: the optimiser state.
        ema_params: exponential moving average of `params`, or None.
        guard: the record of non-finite steps, or None.
    """

    step: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    ema_params: PyTree | None
    guard: Guard | None = None

    def content(self) -> tuple[PyTree, ...]:
        """All that a step changes, except its number and the guard."""
        return self.params, self.model_state, self.opt_state, self.ema_params


def init_variables(model: Network, image: jax.ShapeDtypeStruct, *, seed: int) -> PyTree:
    """Initial parameters and statistics, without running or compiling the network.

    The initialisation is traced, stripped of everything that no parameter depends on, which is the
    network itself, and the rest runs operation by operation. Each initialiser then compiles once
    per shape of parameter, which for a ResNet-50 is ten times faster than compiling one program.
    (Flax's `lazy_init` does the same, but also computes what it can, such as the output of batch
    norm from its initial statistics.)

    Args:
        model: called as `model(image, train=...)`.
        image: shape and dtype of one batch, [B, *space, C].
        seed: seed of the initialisation; it gives the same values on every layout.

    Raises:
        ValueError: a variable depends on the pixels of the image, which is only a shape here.
    """
    traced, shapes = jax.make_jaxpr(
        lambda key, x: model.init(key, x, train=False), return_shape=True
    )(jax.random.key(seed), image)
    leaves, structure = jax.tree.flatten(shapes)
    try:
        initialise, used = jax_internals.pruned(traced, len(leaves))
    except jax_internals.MovedError as error:
        text = f"{error}: the initialisation is compiled whole, which takes longer."
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return _init_whole(model, image, seed=seed)
    if used[1]:
        raise _depends_on_image(model)
    given = [jax.random.key(seed)] if used[0] else []
    return jax.tree.unflatten(structure, initialise(*given))


def _init_whole(model: Network, image: jax.ShapeDtypeStruct, *, seed: int) -> PyTree:
    """`init_variables` in one program, with an image of NaNs that marks what depends on it."""
    mark = jnp.nan if jnp.issubdtype(image.dtype, jnp.inexact) else 0
    unknown = jnp.full(image.shape, mark, image.dtype)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(seed), unknown)
    leaves = jax.tree.leaves(variables)
    if any(jnp.isnan(a).any() for a in leaves if jnp.issubdtype(a.dtype, jnp.inexact)):
        raise _depends_on_image(model)
    return variables


def _depends_on_image(model: Network) -> ValueError:
    return ValueError(
        f"{type(model).__name__}.init computes a variable from the image's values; only its "
        "shape is known before training. Initialise it from the key, or with constants."
    )


def create_state(
    model: Network,
    tx: optax.GradientTransformation,
    image: jax.ShapeDtypeStruct,
    *,
    seed: int,
    ema: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
        model: the network.
        tx: the optimiser.
        image: shape and dtype of one batch, [B, *space, C], as the model sees it.
        seed: seed of the initial parameters.
        ema: whether to keep a moving average of the parameters.
    """
    return state_from(init_variables(model, image, seed=seed), tx, ema=ema)


def state_from(
    variables: PyTree,
    tx: optax.GradientTransformation,
    *,
    ema: bool,
    on_nonfinite: str = "stop",
) -> TrainState:
    """The state before the first step, from given variables, such as pretrained ones.

    `on_nonfinite` is the policy that the train step is built with, see `cnn_jax.train.nonfinite`.
    """
    model_state, params = flax.core.pop(variables, "params")
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=jax.jit(tx.init)(params),
        # a copy: the train step donates its buffers, and no buffer can be donated twice
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
    )
    return dataclasses.replace(state, guard=make_guard(on_nonfinite, state.content()))


def inference_variables(state: TrainState) -> PyTree:
    """The variables for evaluation and prediction: the averaged parameters, if there are any."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": params, **state.model_state}
