"""Lookahead: slow weights that follow the fast ones, and that these return to.

Zhang et al. 2019, arXiv:1907.08610: every few steps the slow weights move a part of the way to the
fast ones, which go on from there. Jordan 2024 (arXiv:2404.00498, section 3.4) lets the slow ones
move all the way at first and less and less, so that the end of a run is an average. `optax.
lookahead` has a constant part; here it is a schedule, and statistics of batch norm may take part.
"""

import jax
import optax

from cnn_jax.typing import Array, PyTree


def rising_decay(steps: int, *, every: int = 5, base: float = 0.95, power: float = 3.0):
    """The decay of the slow weights: 0 at first, base^every at the end.

    Args:
        steps: number of steps of the run.
        every: steps from one meeting to the next.
        base: decay of one step at the end.
        power: how late it rises: the decay after a share s of the steps is base^every * s^power.

    Returns:
        step -> decay in 0..1.
    """
    if steps < 1 or every < 1 or not 0 <= base < 1:
        raise ValueError(
            f"steps={steps}, every={every}, base={base}: wanted steps of 1 or more, and a base in "
            "[0, 1)."
        )
    last = base**every

    def decay(step: Array | int | float) -> Array | float:
        return last * (step / steps) ** power

    return decay


def meet(slow: PyTree, fast: PyTree, decay: Array | float, *, now: Array | bool = True) -> PyTree:
    """The slow weights, moved towards the fast ones; the fast ones then continue from these.

    Args:
        slow, fast: pytrees of arrays of the same structure.
        decay: the share of the slow weights that stays: 0 gives the fast ones.
        now: whether they meet at all in this step; else the slow ones stay.
    """
    met = optax.incremental_update(fast, slow, 1 - decay)
    return jax.tree.map(lambda new, old: jax.numpy.where(now, new, old), met, slow)
