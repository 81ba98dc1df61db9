"""Optimisers and learning-rate schedules by name: Optax's, combined as papers use them."""

import difflib
import math
from collections.abc import Callable, Sequence

import jax
import optax
from optax import contrib

from cnn_jax.typing import PyTree

SCHEDULES = ("constant", "step", "cosine", "linear", "one_cycle")


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
        optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov),
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


# `momentum` is the decay of the first moment: b1 in the Adam family, beta in Muon. `nesterov`
# means something to sgd, adam, adamw, lars and muon.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "lamb": _lamb,
    "lars": _lars,
    "lion": _lion,
    "muon": _muon,
}
WITHOUT_NESTEROV = ("lamb", "lion")


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

    Raises:
        ValueError: an unknown name, or a number out of range.
    """
    if name not in OPTIMIZERS:
        raise ValueError(unknown("optimizer", name, OPTIMIZERS))
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; it must be in [0, 1).")
    if weight_decay < 0 or clip_norm < 0:
        raise ValueError(
            f"weight_decay is {weight_decay} and clip_norm {clip_norm}; both must be 0 or more."
        )
    if nesterov and name in WITHOUT_NESTEROV:
        raise ValueError(f"{name} has no Nesterov form; switch nesterov off.")
    if nesterov and not momentum:
        raise ValueError("nesterov needs a momentum above 0.")
    tx = OPTIMIZERS[name](
        learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )
    return optax.chain(optax.clip_by_global_norm(clip_norm), tx) if clip_norm else tx


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


def make_schedule(
    name: str,
    peak: float,
    *,
    steps: int,
    warmup_steps: int = 0,
    final: float = 0.0,
    boundaries: Sequence[int] = (),
    factor: float = 0.1,
) -> optax.Schedule:
    """Learning rate as a function of the step: a linear warm-up from 0, then the schedule.

    Args:
        name: one of SCHEDULES. 'constant'; 'step' multiplies by `factor` at each boundary; 'cosine'
            (Loshchilov 2017, arXiv:1608.03983) and 'linear' fall from the peak after the warm-up to
            `final` at the last step; 'one_cycle' (Smith 2018, arXiv:1708.07120) rises along a
            cosine from peak / 25 during the warm-up (30% of the steps unless given) and falls along
            one to `final`.
        peak: peak learning rate.
        steps: number of steps of the whole run.
        warmup_steps: number of warm-up steps; the first has 1 / warmup_steps of the peak, not 0.
        final: learning rate at the end; in the unit of `peak`.
        boundaries: steps at which 'step' drops, counted from the beginning of the run.
        factor: factor of 'step' at each boundary.

    Raises:
        ValueError: an unknown name, or inconsistent numbers.
    """
    if name not in SCHEDULES:
        raise ValueError(unknown("schedule", name, SCHEDULES))
    if steps < 1 or not 0 <= warmup_steps <= steps:
        raise ValueError(
            f"{warmup_steps} warm-up steps of {steps} steps; wanted at least one step, and "
            "a warm-up of 0 to all of them."
        )
    if not (peak > 0 and math.isfinite(peak)):
        raise ValueError(f"The learning rate is {peak}; it must be above 0.")
    if name == "one_cycle":
        warmup_steps = warmup_steps or max(1, round(0.3 * steps))
        rise = optax.cosine_decay_schedule(peak / 25 - peak, warmup_steps)
        fall = optax.cosine_decay_schedule(peak - final, max(1, steps - warmup_steps))
        return optax.join_schedules(
            [lambda step: peak + rise(step), lambda step: final + fall(step)], [warmup_steps]
        )
    rest = max(1, steps - warmup_steps)
    if name == "constant":
        after = optax.constant_schedule(peak)
    elif name == "step":
        after = optax.piecewise_constant_schedule(
            peak, {boundary - warmup_steps: factor for boundary in boundaries}
        )
    elif name == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, alpha=final / peak)
    else:
        after = optax.linear_schedule(peak, final, rest)
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(peak / warmup_steps, peak, max(1, warmup_steps - 1))
    return optax.join_schedules([warmup, after], [warmup_steps])


def unknown(kind: str, name: str, known) -> str:
    """The message for an unknown name, with the nearest names, or all."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(known)}."
    return f"There is no {kind} {name!r}; {hint}"
