"""Sweeps: many runs in one directory, of every combination of settings or of those that look best.

See `grid` and `search`.
"""

from cnn_jax.run.trials.combining import grid
from cnn_jax.run.trials.ending import Swept
from cnn_jax.run.trials.searching import search

__all__ = ["Swept", "grid", "search"]
