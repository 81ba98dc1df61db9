"""Figures of each class and calibration, against scikit-learn and the metric of a run."""

import numpy as np
import pytest
import sklearn.metrics

from cnn_jax import metrics
from cnn_jax.metrics import calibration, per_class


@pytest.fixture(scope="module")
def scores():
    """Scores [300, 5] with many ties, whose last class never occurs, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300)
    logits = rng.normal(size=(300, 5)) + 1.5 * np.eye(5)[labels]
    return np.round(logits, 1), labels


def test_as_scikit_learn_has_it(scores):
    logits, labels = scores
    predicted = logits.argmax(-1)
    counts = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(5))
    found = per_class.from_confusion(counts)
    theirs = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(5), zero_division=np.nan
    )
    for own, other in zip((found.precision, found.recall, found.f1, found.support), theirs,
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(own[:4], other[:4])
    assert np.isnan(found.recall[4])
    average = per_class.average_precision(logits, labels)
    for k in range(4):
        theirs = sklearn.metrics.average_precision_score(labels == k, logits[:, k])
        assert average[k] == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(average[4])


def test_the_calibration_error_is_that_of_a_run(scores):
    logits, labels = scores
    batch = {"label": labels, "mask": np.ones(300, np.float32)}
    metric = metrics.METRICS["calibration_error"]
    sums = {k: np.asarray(v, float) for k, v in metric.observe(logits, batch).items()}
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = calibration.reliability(shares.max(-1), logits.argmax(-1) == labels)
    assert found.error == pytest.approx(metric.report(sums), abs=1e-6)
    assert found.examples.sum() == 300
    # twice each example is the same diagram
    twice = calibration.reliability(
        shares.max(-1), logits.argmax(-1) == labels, weights=np.full(300, 2.0)
    )
    assert twice.error == pytest.approx(found.error)
    assert np.isnan(calibration.reliability(np.zeros(0), np.zeros(0, bool)).error)
