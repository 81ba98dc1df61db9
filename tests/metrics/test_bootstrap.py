"""Intervals by the bootstrap against those of SciPy."""

import numpy as np
import pytest
from scipy import stats

from cnn_jax.metrics import bootstrap


def test_as_scipy_has_it():
    values = np.random.default_rng(0).exponential(size=200)
    own = bootstrap.intervals(lambda w: {"mean": values @ w / w.sum()}, 200, resamples=3000)["mean"]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=3000, method="percentile", rng=1
    ).confidence_interval
    assert own.low == pytest.approx(theirs.low, abs=0.02)
    assert own.high == pytest.approx(theirs.high, abs=0.02)
    narrow = bootstrap.intervals(lambda w: {"mean": values @ w / w.sum()}, 200, confidence=0.5)
    assert own.low < narrow["mean"].low < narrow["mean"].high < own.high


def test_what_has_no_interval():
    assert bootstrap.intervals(lambda w: {"a": 1.0}, 1) == {}
    rare = bootstrap.intervals(lambda w: {"a": np.nan if w[0] < 2 else 1.0, "b": w.sum()}, 9)
    assert rare == {"b": (9.0, 9.0)}
    with pytest.raises(ValueError, match="confidence=2"):
        bootstrap.intervals(lambda w: {}, 9, confidence=2)
