"""The values of seeds as a text, and what may be said of them."""

import numpy as np

from experiments.concepts.frame import spread
from experiments.concepts.frame.why import by_seed


def test_above_needs_more_than_the_noise():
    assert spread.above(np.array([2.0, 2.1, 2.2]), np.array([1.0, 1.1, 1.2]))
    assert not spread.above(np.array([1.1, 0.2, 2.0]), np.array([1.0, 1.1, 0.9]))


def test_a_spread_holds_only_values_that_there_are():
    assert spread.percent([0.9, 0.44, 1.0]) == "78.0 (44.0 … 100.0) %"
    assert spread.percent([0.941, 0.941]) == "94.1 %"
    assert spread.spread([1.0, None, float("nan")], digits=2) == "1.00, 2 NaN"
    assert spread.spread([None]) == "NaN"


def test_seeds_that_disagree_are_told_from_the_other_direction():
    assert "too uneven" in by_seed([0.5, 0.9, 0.6], [0.4, 0.5, 0.6]).en
    assert "Within each network it would have held" in by_seed([0.5, 0.7, 0.9], [0.3, 0.49, 0.7]).en
    assert "the other way" in by_seed([0.1, 0.2], [0.4, 0.5]).en
