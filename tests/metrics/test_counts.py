import jax.numpy as jnp
import numpy as np
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import metrics


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), k=st.sampled_from([1, 2, 5]))
def test_top_k_against_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(16, 7))
    labels = rng.integers(0, 7, 16)
    mask = rng.integers(0, 2, 16)
    ours = metrics.top_k_correct(jnp.asarray(logits), jnp.asarray(labels), k=k, mask=mask)
    theirs = sklearn.metrics.top_k_accuracy_score(
        labels, logits, k=k, labels=range(7), normalize=False, sample_weight=mask
    )
    assert int(ours) == theirs


def test_ties_go_to_the_lower_index_as_in_argmax():
    logits = jnp.zeros((3, 4))
    labels = jnp.array([0, 1, 2])
    assert metrics.top_k_correct(logits, labels, k=1, mask=jnp.ones(3)) == 1
    assert metrics.top_k_correct(logits, labels, k=2, mask=jnp.ones(3)) == 2


def test_nan_is_never_correct():
    logits = jnp.array([[jnp.nan, 0.0], [1.0, 0.0]])
    assert metrics.top_k_correct(logits, jnp.array([0, 0]), k=5, mask=jnp.ones(2)) == 1


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_confusion_matrix_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 6, (4, 9))  # -1 and 5 lie outside and are not counted
    predictions = rng.integers(0, 5, (4, 9))
    mask = rng.integers(0, 2, (4, 9))
    ours = metrics.confusion_matrix(
        jnp.asarray(predictions), jnp.asarray(labels), num_classes=5, mask=mask
    )
    kept = (mask > 0) & (labels >= 0) & (labels < 5)
    theirs = np.zeros((5, 5))
    if kept.any():
        theirs = sklearn.metrics.confusion_matrix(labels[kept], predictions[kept], labels=range(5))
    np.testing.assert_array_equal(ours, theirs)
