import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from cnn_jax import losses


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4)).astype(np.float32) * 3
    return logits, rng.integers(0, 4, 6), np.array([1, 1, 1, 1, 0, 0], np.float32)


def probabilities(logits):
    shifted = np.exp(logits.astype(np.float64))
    return shifted / shifted.sum(-1, keepdims=True)


def test_hard_labels_against_scikit_learn(case):
    logits, labels, mask = case
    mean = losses.softmax_cross_entropy(logits, labels, mask=mask)
    expected = log_loss(labels[:4], probabilities(logits[:4]), labels=range(4))
    assert mean.weight == 4
    np.testing.assert_allclose(mean.total / mean.weight, expected, rtol=1e-6)


def test_label_smoothing_and_soft_labels_are_the_same_formula(case):
    logits, labels, mask = case
    smooth = losses.softmax_cross_entropy(logits, labels, mask=mask, label_smoothing=0.1)
    soft = 0.9 * np.eye(4)[labels] + 0.1 / 4
    expected = -(soft * np.log(probabilities(logits))).sum(-1)[:4].sum()
    np.testing.assert_allclose(smooth.total, expected, rtol=1e-6)
    same = losses.softmax_cross_entropy(logits, jnp.asarray(soft, jnp.float32), mask=mask)
    np.testing.assert_allclose(same.total, expected, rtol=1e-6)


def test_padding_may_hold_anything(case):
    logits, labels, mask = case
    clean = losses.softmax_cross_entropy(logits, labels, mask=mask)
    logits = logits.copy()
    logits[4], logits[5] = np.inf, np.nan
    assert losses.softmax_cross_entropy(logits, labels, mask=mask) == clean


def test_bfloat16_logits_are_summed_in_float32(case):
    logits, labels, mask = case
    mean = losses.softmax_cross_entropy(jnp.asarray(logits, jnp.bfloat16), labels, mask=mask)
    assert mean.total.dtype == jnp.float32


def test_gradient_is_probability_minus_target(case):
    logits, labels, mask = case
    gradient = jax.grad(lambda x: losses.softmax_cross_entropy(x, labels, mask=mask).total)(logits)
    expected = (probabilities(logits) - np.eye(4)[labels]) * mask[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"logits \(2, 3\) and labels \(3,\)"):
        losses.softmax_cross_entropy(jnp.zeros((2, 3)), jnp.zeros(3, int), mask=jnp.ones(2))
