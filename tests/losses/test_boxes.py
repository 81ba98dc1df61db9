"""The element-wise losses against their papers' formulae, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import losses

LOGITS = np.concatenate([np.linspace(-8, 8, 33), [-90.0, 90.0, -1e4, 1e4]])  # 0 is one of them


def gradient(loss, x):
    return jax.jit(jax.grad(lambda x: loss(x).sum()))(jnp.asarray(x, jnp.float32))


@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_binary_cross_entropy(target):
    loss = lambda x: losses.binary_cross_entropy(x, jnp.full(x.shape, target))  # noqa: E731
    # softplus(-x) is -log p, and softplus(x) is -log(1 - p)
    want = target * np.logaddexp(0, -LOGITS) + (1 - target) * np.logaddexp(0, LOGITS)
    np.testing.assert_allclose(loss(jnp.asarray(LOGITS, jnp.float32)), want, rtol=1e-6, atol=1e-30)
    p = np.exp(-np.logaddexp(0, -LOGITS))
    np.testing.assert_allclose(gradient(loss, LOGITS), p - target, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.25, -1.0])
@pytest.mark.parametrize("gamma", [2.0, 1.0])  # below 1, Optax 0.2.5 has gradients of nan
@pytest.mark.parametrize("target", [0, 1])
def test_sigmoid_focal(target, gamma, alpha):
    sign = 1 if target else -1
    log_p = -np.logaddexp(0, -sign * LOGITS)  # of the truth
    log_missed = -np.logaddexp(0, sign * LOGITS)
    weight = 1.0 if alpha < 0 else alpha if target else 1 - alpha
    want = -weight * np.exp(gamma * log_missed) * log_p
    targets = jnp.full(LOGITS.shape, float(target))
    loss = lambda x: losses.sigmoid_focal(x, targets, alpha=alpha, gamma=gamma)  # noqa: E731
    got = loss(jnp.asarray(LOGITS, jnp.float32))
    # what is below 1e-9 may be rounded to nothing, by older versions of Optax
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-9)
    assert np.isfinite(gradient(loss, LOGITS)).all()


def test_quality_focal_is_cross_entropy_times_the_squared_error():
    quality = np.linspace(0, 1, len(LOGITS))
    p = np.exp(-np.logaddexp(0, -LOGITS))
    entropy = quality * np.logaddexp(0, -LOGITS) + (1 - quality) * np.logaddexp(0, LOGITS)
    got = losses.quality_focal(jnp.asarray(LOGITS, jnp.float32), jnp.asarray(quality, jnp.float32))
    np.testing.assert_allclose(got, entropy * (quality - p) ** 2, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [1.0, 1 / 9, 0.0])
def test_smooth_l1(beta):
    errors = np.array([-3, -beta, -beta / 2, 0, beta / 3, beta, 5.0])
    size = np.abs(errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        want = np.where(size < beta, errors**2 / (2 * beta), size - beta / 2)
    want = size if beta == 0 else want
    loss = lambda x: losses.smooth_l1(x, jnp.ones(x.shape), beta=beta)  # noqa: E731
    np.testing.assert_allclose(loss(jnp.asarray(1 + errors, jnp.float32)), want, atol=1e-6)
    smooth = errors != 0 if beta == 0 else size >= 0  # a corner at 0 has no slope
    slope = np.sign(errors) if beta == 0 else np.clip(errors / beta, -1, 1)
    np.testing.assert_allclose(gradient(loss, 1 + errors)[smooth], slope[smooth], atol=2e-6)


def test_all_compute_in_float32():
    half = jnp.ones((3, 4), jnp.bfloat16)
    for loss in (
        losses.binary_cross_entropy,
        losses.sigmoid_focal,
        losses.quality_focal,
        losses.smooth_l1,
        losses.giou,
    ):
        assert loss(half, jnp.ones((3, 4))).dtype == jnp.float32
