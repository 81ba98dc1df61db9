"""Optimisers by name: Optax's, combined as papers use them."""

from collections.abc import Callable

import jax
import optax
from optax import contrib

from cnn_jax.registry import Registry
from cnn_jax.train.schedules import SCHEDULES, is_known, make_schedule
from cnn_jax.typing import PyTree

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "decayed",
    "kernel_matrices",
    "make_optimizer",
    "make_schedule",
    "scale_by_path",
]


def decayed(params: PyTree) -> PyTree:
    """Which parameters weight decay applies to: kernels, but no biases and no norm parameters.

    A bias, and the scale and offset of a normalisation, have one axis; a kernel has at least two
    (He et al. 2019, arXiv:1812.01187, section 3.1).
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def kernel_matrices(params: PyTree) -> PyTree:
    """How Muon sees the parameters: each kernel [*window, in, out] as one matrix.

    A kernel is flattened as in the reference implementation for convolutions (Jordan 2024), with
    the window and the input channels on one side. Biases and norms (None) are left to Adam.
    """

    def matrix(leaf):
        if leaf.ndim < 2:
            return None
        return contrib.MuonDimensionNumbers(
            reduction_axis=tuple(range(leaf.ndim - 1)), output_axis=leaf.ndim - 1
        )

    return jax.tree.map(matrix, params)


def _sgd(learning_rate, *, momentum, weight_decay, nesterov):
    # Coupled decay, added to the gradient before the momentum, as in He 2016 and PyTorch.
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decayed),
        optax.sgd(
            learning_rate,
            momentum=None if is_known(momentum) and not momentum else momentum,
            nesterov=nesterov,
        ),
    )


def _adam(learning_rate, *, momentum, weight_decay, nesterov):
    # Coupled decay, the L2 penalty of the original Adam; adamw has the decoupled one.
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decayed),
        optax.adam(learning_rate, b1=momentum, nesterov=nesterov),
    )


def _adamw(learning_rate, *, momentum, weight_decay, nesterov):
    return optax.adamw(
        learning_rate, b1=momentum, weight_decay=weight_decay, mask=decayed, nesterov=nesterov
    )


def _lamb(learning_rate, *, momentum, weight_decay, nesterov):
    _without_nesterov("lamb", nesterov)
    return optax.lamb(learning_rate, b1=momentum, weight_decay=weight_decay, mask=decayed)


def _lars(learning_rate, *, momentum, weight_decay, nesterov):
    return optax.lars(
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=decayed,
        trust_ratio_mask=decayed,
        momentum=momentum,
        nesterov=nesterov,
    )


def _lion(learning_rate, *, momentum, weight_decay, nesterov):
    _without_nesterov("lion", nesterov)
    return optax.lion(learning_rate, b1=momentum, weight_decay=weight_decay, mask=decayed)


def _muon(learning_rate, *, momentum, weight_decay, nesterov):
    return contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        weight_decay_mask=decayed,
        nesterov=nesterov,
        muon_weight_dimension_numbers=kernel_matrices,
    )


def _without_nesterov(name: str, nesterov: bool) -> None:
    if nesterov:
        raise ValueError(f"{name} has no Nesterov form; switch it off, nesterov=False.")


# (learning rate or schedule, *, momentum, weight_decay, nesterov) -> an Optax transformation.
# `momentum` is the decay of the first moment: b1 in the Adam family, beta in Muon. `nesterov`
# means something to sgd, adam, adamw, lars and muon. Any function of this form can be registered.
OPTIMIZERS: Registry[Callable[..., optax.GradientTransformation]] = Registry(
    "optimizer", wanted="a function", check=callable
)
OPTIMIZERS.register("sgd", _sgd)
OPTIMIZERS.register("adam", _adam)
OPTIMIZERS.register("adamw", _adamw)
OPTIMIZERS.register("lamb", _lamb)
OPTIMIZERS.register("lars", _lars)
OPTIMIZERS.register("lion", _lion)
OPTIMIZERS.register("muon", _muon)


def make_optimizer(
    name: str,
    learning_rate: optax.Schedule | float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """The optimiser called `name`.

    Args:
        name: one of OPTIMIZERS.
        learning_rate: a number, or a function of the step.
        momentum: decay of the first moment, in [0, 1).
        weight_decay: weight decay, except on biases and norm parameters. Coupled (L2) for sgd, adam
            and lars, decoupled for the others.
        nesterov: whether to use Nesterov momentum.
        clip_norm: global norm to which the gradient is scaled down; 0 for no clipping.

    Inside a compiled step `momentum`, `weight_decay` and `clip_norm` may be its arguments: they are
    not checked then, and count as above 0.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """
    optimizer = OPTIMIZERS[name]
    if is_known(momentum) and not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum}: it must be in [0, 1).")
    if any(is_known(number) and number < 0 for number in (weight_decay, clip_norm)):
        raise ValueError(
            f"weight_decay={weight_decay} and clip_norm={clip_norm}: both must be 0 or more."
        )
    if nesterov and is_known(momentum) and not momentum:
        raise ValueError("nesterov needs a momentum above 0.")
    OPTIMIZERS.check_call(name, 1, "momentum", "weight_decay", "nesterov")
    tx = optimizer(learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    if not isinstance(tx, optax.GradientTransformation):
        raise ValueError(
            f"The optimizer {name!r} ({OPTIMIZERS.origin(name)}) returned {type(tx).__name__}; it "
            "must return an optax.GradientTransformation."
        )
    if is_known(clip_norm) and not clip_norm:
        return tx
    return optax.chain(optax.clip_by_global_norm(clip_norm), tx)


def scale_by_path(
    tx: optax.GradientTransformation, factor: Callable[[str], float]
) -> optax.GradientTransformation:
    """Scales the updates of `tx` leaf by leaf: a lower learning rate for some, 0 to freeze them.

    Args:
        tx: the optimiser.
        factor: path of a parameter, 'layer1_0/conv1/kernel' -> factor on its update. This also
            scales a decoupled weight decay.
    """

    def scale(updates: PyTree, params: PyTree | None) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                leaf * factor(jax.tree_util.keystr(path, simple=True, separator="/"))
            ),
            updates,
        )

    return optax.chain(tx, optax.stateless(scale))
