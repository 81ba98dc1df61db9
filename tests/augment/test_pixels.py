"""Pixels as floats, normalised channel by channel."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import augment


def test_normalise():
    levels = jnp.arange(24, dtype=jnp.uint8).reshape(2, 2, 2, 3) * 10
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    got = augment.normalise(levels, mean=mean, std=std)
    want = (np.asarray(levels) / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert got.dtype == jnp.float32
    deep = augment.to_unit(jnp.array([0, 65535], jnp.uint16))
    assert deep.tolist() == [0, 1]
    half = augment.normalise(jnp.ones((2, 3), jnp.bfloat16), mean=[0.5], std=[0.5])
    assert half.dtype == jnp.bfloat16
    assert (half == 1).all()


def test_normalise_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="2 numbers for images of 3 channels"):
        augment.normalise(jnp.zeros((2, 2, 3)), mean=(0.5, 0.5), std=(1.0,))
    with pytest.raises(ValueError, match="positive"):
        augment.normalise(jnp.zeros((2, 2, 3)), mean=(0.5,), std=(0.0,))
