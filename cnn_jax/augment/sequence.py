"""Random augmentations of sequences, on the device: pure functions (key, x [L, C]) -> x [L, C].

What a sensor changes without changing what it saw: where the recording begins, how fast it runs,
how strong the signal is, how its zero drifts, and noise (Um et al. 2017, "Data augmentation of
wearable sensor data", arXiv:1706.00527, sections 3.1 and 3.2: jittering, scaling, time-warping).
They are steps of the grammar as those of images are: see `cnn_jax.augment.grammar`.
"""

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array


def noise(key: Array, x: Array, *, deviation: float) -> Array:
    """Adds normal noise, drawn anew for every number; `deviation` in the units of x."""
    return x + deviation * jax.random.normal(key, x.shape, x.dtype)


def gain(key: Array, x: Array, *, smallest: float, largest: float) -> Array:
    """Multiplies all of x by one factor, uniform between the two."""
    return x * jax.random.uniform(key, (), x.dtype, smallest, largest)


def roll(key: Array, x: Array, *, steps: int) -> Array:
    """Moves x by up to `steps` either way; what leaves at one end comes in at the other."""
    _require_sequence(x, "roll")
    return jnp.roll(x, jax.random.randint(key, (), -steps, steps + 1), axis=0)


def stretch(key: Array, x: Array, *, smallest: float, largest: float) -> Array:
    """Slows x down (factors above 1) or speeds it up, about its middle.

    Between the steps it is interpolated linearly; beyond the ends the first or last value stays.
    """
    _require_sequence(x, "stretch")
    factor = jax.random.uniform(key, (), x.dtype, smallest, largest)
    last = x.shape[0] - 1
    place = last / 2 + (jnp.arange(x.shape[0]) - last / 2) / factor  # [L], where to read
    low = jnp.clip(jnp.floor(place), 0, max(last - 1, 0)).astype(jnp.int32)
    share = jnp.clip(place - low, 0, 1)[:, None]
    return x[low] * (1 - share) + x[jnp.minimum(low + 1, last)] * share


def slope(key: Array, x: Array, *, largest: float) -> Array:
    """Adds a straight line of mean 0, from one end to the other by up to `largest` either way."""
    _require_sequence(x, "slope")
    rise = jax.random.uniform(key, (), x.dtype, -largest, largest)
    return x + rise * jnp.linspace(-0.5, 0.5, x.shape[0], dtype=x.dtype)[:, None]


def _require_sequence(x: Array, name: str) -> None:
    if x.ndim != 2:
        raise ValueError(f"{name} is for sequences [L, C]; it was given {x.shape}.")
