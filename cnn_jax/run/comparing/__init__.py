"""Runs beside each other: see `compare`."""

from cnn_jax.run.comparing.comparison import Comparison
from cnn_jax.run.comparing.writing import compare

__all__ = ["Comparison", "compare"]
