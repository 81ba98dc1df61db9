"""Lookahead, beside its definition in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.train import lookahead


def test_slow_weights_go_a_part_of_the_way_and_less_and_less():
    decay = lookahead.rising_decay(100)
    assert decay(0) == 0
    assert decay(50) == pytest.approx(0.95**5 * 0.125)
    assert decay(100) == pytest.approx(0.95**5)
    slow, fast = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 0.0])}
    met = lookahead.meet(slow, fast, 0.75)
    np.testing.assert_allclose(met["w"], [1.5, 1.5])
    np.testing.assert_array_equal(lookahead.meet(slow, fast, 0.0)["w"], fast["w"])
    np.testing.assert_array_equal(lookahead.meet(slow, fast, 0.75, now=False)["w"], slow["w"])
    with pytest.raises(ValueError, match="wanted steps of 1 or more"):
        lookahead.rising_decay(0)
