"""What a training step does when its result is NaN or infinite: stop the run, skip, or roll back.

The loop stops the run, see `check`. The other two are decided inside the step, from its arrays
alone, so that they are the same on every layout and any number of hosts, cost no copy to the host,
and are repeated bit for bit by a resumed run. The step counter, and every other counter, advances
in either case: the next step sees other examples, other random numbers, and the learning rate of
its own step.

    skip      everything else stays as it was before the step
    rollback  everything else returns to the last kept copy, at most `every` steps old

Skipping is for an example or a draw that spoils one step. Rolling back is for parameters that
diverged some steps before the first infinity; to continue with unseen examples is what Chowdhery et
al. 2022 did about loss spikes (PaLM, arXiv:2204.02311, section 5.1: from a checkpoint about 100
steps back, leaving out 200 to 500 batches). Here the checkpoint is a copy on the device, because
which files a run has depends on when it was interrupted; it doubles the memory of the state.
Neither cures a learning rate that is too high, so their number is limited, see
`cnn_jax.train.loop.fit`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.typing import Array, PyTree

POLICIES = ("stop", "skip", "rollback")


class NonFiniteError(ArithmeticError):
    """The loss or the gradient is NaN or infinite."""


@flax.struct.dataclass
class Guard:
    """The record of non-finite steps; part of the training state.

    Attributes:
        count: int32 scalar, number of such steps so far.
        kept: the copy to roll back to, or None if steps are only skipped.
    """

    count: Array
    kept: PyTree | None = None


# (content before the step, content after it, guard, step, whether it is finite) -> the same
Rule = Callable[[PyTree, PyTree, Guard, Array, Array], tuple[PyTree, Guard]]


def make_rule(policy: str, *, every: int = 100) -> Rule | None:
    """The rule called `policy`, one of POLICIES; None for 'stop', which leaves it to the host.

    Args:
        policy: name of the policy.
        every: steps between the copies, for 'rollback'.

    Raises:
        ValueError: an unknown policy, or `every` below 1.
    """
    if policy not in POLICIES:
        raise ValueError(f"on_nonfinite={policy}: wanted one of {', '.join(POLICIES)}.")
    if every < 1:
        raise ValueError(f"rollback_every={every}; it must be at least 1 step.")
    rules: dict[str, Rule | None] = {
        "stop": None,
        "skip": skip,
        "rollback": partial(rollback, every=every),
    }
    return rules[policy]


def make_guard(policy: str, content: PyTree) -> Guard | None:
    """The guard before the first step; `content` is what the policy restores."""
    if policy == "stop":
        return None
    kept = jax.tree.map(jnp.copy, content) if policy == "rollback" else None
    return Guard(count=jnp.zeros((), jnp.int32), kept=kept)


def skip(
    before: PyTree, after: PyTree, guard: Guard, step: Array, finite: Array
) -> tuple[PyTree, Guard]:
    """`after` if it is finite, else `before`; counters are those of `after`."""
    chosen = _choose(finite, after, before)
    return chosen, Guard(count=guard.count + ~finite)


def rollback(
    before: PyTree, after: PyTree, guard: Guard, step: Array, finite: Array, *, every: int
) -> tuple[PyTree, Guard]:
    """`after` if it is finite, else the kept copy; every `every` steps the result is kept."""
    chosen = _choose(finite, after, guard.kept)
    due = (step % every == 0) & finite
    kept = jax.tree.map(partial(jnp.where, due), chosen, guard.kept)
    return chosen, Guard(count=guard.count + ~finite, kept=kept)


def all_finite(tree: PyTree) -> Array:
    """bool scalar: whether every number of every array is finite."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def check(
    metrics: Mapping[str, Any],
    step: int,
    limit: int,
    *,
    learning_rate: Callable[[int], float] | None = None,
    kept: Callable[[], Sequence[int]] | None = None,
) -> None:
    """Checks the metrics of a step, on the host.

    Args:
        metrics: metrics of `make_train_step`.
        step: number of the update, from 1.
        limit: number of non-finite steps that may be skipped or rolled back.
        learning_rate: number of updates made -> learning rate, for the message.
        kept: () -> the steps that have a checkpoint, for the message.

    Raises:
        NonFiniteError: a metric is not finite, or the step was skipped once more than `limit`.
    """
    values = {
        name: value for name, value in metrics.items() if name not in ("nonfinite", "spoiled")
    }
    spoiled = bool(metrics.get("spoiled", False))
    if spoiled and metrics["nonfinite"] <= limit:
        return
    if not spoiled and all(np.isfinite(value).all() for value in values.values()):
        return
    at = "" if learning_rate is None else f", with a learning rate of {learning_rate(step - 1):g}"
    more = f", once more than nonfinite_limit={limit} allows" if spoiled else ""
    good = ""
    if kept is not None:
        steps = kept()
        good = (
            f" The checkpoint of step {steps[-1]} is good."
            if steps
            else (" There is no checkpoint yet.")
        )
    raise NonFiniteError(
        f"{what(values)} at step {step}{at}{more}.{good} Lower the learning rate, lengthen its "
        "warm-up, or clip the gradient."
    )


def what(values: Mapping[str, Any]) -> str:
    """What is not finite, in words: 'loss is nan and grad_norm is inf'."""
    bad = [f"{name} is {value}" for name, value in values.items() if not np.isfinite(value).all()]
    return " and ".join(bad) or "a parameter or a statistic is not finite"


def _choose(finite: Array, after: PyTree, before: PyTree) -> PyTree:
    def choose(new: Array, old: Array) -> Array:
        return jnp.where(finite, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(choose, after, before)
