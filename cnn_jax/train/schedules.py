"""Learning-rate schedules by name: Optax's, each after a warm-up."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from cnn_jax.registry import Registry


def warmed_up(peak: float, warmup_steps: int, after: optax.Schedule) -> optax.Schedule:
    """A linear warm-up to `peak`, then `after`, whose steps are counted from its end.

    The first step has 1 / warmup_steps of the peak, not 0.
    """
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(peak / warmup_steps, peak, max(1, warmup_steps - 1))
    return optax.join_schedules([warmup, after], [warmup_steps])


def _constant(peak, *, steps, warmup_steps, final, boundaries, factor):
    return warmed_up(peak, warmup_steps, optax.constant_schedule(peak))


def _step(peak, *, steps, warmup_steps, final, boundaries, factor):
    drops = {boundary - warmup_steps: factor for boundary in boundaries}
    return warmed_up(peak, warmup_steps, optax.piecewise_constant_schedule(peak, drops))


def _cosine(peak, *, steps, warmup_steps, final, boundaries, factor):
    rest = max(1, steps - warmup_steps)
    after = optax.cosine_decay_schedule(peak, rest, alpha=final / peak)
    return warmed_up(peak, warmup_steps, after)


def _linear(peak, *, steps, warmup_steps, final, boundaries, factor):
    rest = max(1, steps - warmup_steps)
    return warmed_up(peak, warmup_steps, optax.linear_schedule(peak, final, rest))


def _one_cycle(peak, *, steps, warmup_steps, final, boundaries, factor):
    warmup_steps = warmup_steps or max(1, round(0.3 * steps))
    rise = optax.cosine_decay_schedule(peak / 25 - peak, warmup_steps)
    fall = optax.cosine_decay_schedule(peak - final, max(1, steps - warmup_steps))
    return optax.join_schedules(
        [lambda step: peak + rise(step), lambda step: final + fall(step)], [warmup_steps]
    )


# (peak, *, steps, warmup_steps, final, boundaries, factor) -> step -> learning rate, with the
# warm-up, see `make_schedule` and `warmed_up`. Any function of this form can be registered.
SCHEDULES: Registry[Callable[..., optax.Schedule]] = Registry(
    "schedule", wanted="a function", check=callable
)
SCHEDULES.register("constant", _constant)
SCHEDULES.register("step", _step)
SCHEDULES.register("cosine", _cosine)
SCHEDULES.register("linear", _linear)
SCHEDULES.register("one_cycle", _one_cycle)


def is_known(number: Any) -> bool:
    """Whether a number is one of Python's, and no argument of a compiled function."""
    return not isinstance(number, jax.Array)


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

    >>> rate = make_schedule("linear", 1.0, steps=10, warmup_steps=2)
    >>> [round(float(rate(step)), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]

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
    schedule = SCHEDULES[name]
    if steps < 1 or not 0 <= warmup_steps <= steps:
        raise ValueError(
            f"{warmup_steps} warm-up steps of {steps} steps; wanted at least one step, and "
            "a warm-up of 0 to all of them."
        )
    if is_known(peak) and not (peak > 0 and math.isfinite(peak)):
        raise ValueError(f"learning_rate={peak}: it must be above 0.")
    SCHEDULES.check_call(name, 1, "steps", "warmup_steps", "final", "boundaries", "factor")
    made = schedule(
        peak,
        steps=steps,
        warmup_steps=warmup_steps,
        final=final,
        boundaries=boundaries,
        factor=factor,
    )
    if not callable(made):
        raise ValueError(
            f"The schedule {name!r} ({SCHEDULES.origin(name)}) returned {type(made).__name__}; it "
            "must return a function of the step."
        )
    return made
