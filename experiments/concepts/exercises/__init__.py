"""Twelve exercises: small functions to write in NumPy, which are checked against JAX.

python -m experiments.concepts.exercises
"""

from experiments.concepts.exercises import (
    batch_norm,
    dense_tasks,
    features,
    fully_connected,
    gradients,
    one_window,
    output_size,
    pixels,
    pooling,
    receptive_field,
    residual,
    weight_sharing,
)
from experiments.concepts.exercises.exercise import Exercise

# In the order of the lesson; the numbers count on. A module has the name of the lesson's section.
EXERCISES: tuple[Exercise, ...] = (
    pixels.EXERCISE,
    fully_connected.EXERCISE,
    one_window.EXERCISE,
    weight_sharing.EXERCISE,
    output_size.EXERCISE,
    pooling.EXERCISE,
    receptive_field.EXERCISE,
    gradients.EXERCISE,
    batch_norm.EXERCISE,
    residual.EXERCISE,
    dense_tasks.EXERCISE,
    features.EXERCISE,
)
