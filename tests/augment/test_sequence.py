"""Augmentations of sequences, against numpy and by what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import augment
from cnn_jax.augment import sequence

X = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
KEYS = [jax.random.key(i) for i in range(40)]


def test_roll_moves_up_to_the_steps_and_loses_nothing():
    seen = set()
    for key in KEYS:
        y = np.asarray(sequence.roll(key, X, steps=2))
        seen |= {s for s in range(-10, 10) if np.array_equal(y, np.roll(X, s, axis=0))}
    assert seen == {-2, -1, 0, 1, 2}


def test_stretch_is_linear_interpolation():
    for key in KEYS[:5]:
        y = sequence.stretch(key, X, smallest=0.5, largest=2.0)
        factor = float(jax.random.uniform(key, (), jnp.float32, 0.5, 2.0))
        place = 9.5 + (np.arange(20) - 9.5) / factor
        for channel in range(2):
            expected = np.interp(place, np.arange(20), X[:, channel])
            np.testing.assert_allclose(y[:, channel], expected, atol=1e-5)
    np.testing.assert_allclose(sequence.stretch(KEYS[0], X, smallest=1, largest=1), X, atol=1e-6)


def test_gain_is_one_factor_within_its_bounds():
    factors = np.stack([sequence.gain(key, X, smallest=0.8, largest=1.2) / X for key in KEYS])
    assert np.ptp(factors, axis=(1, 2)).max() < 1e-5
    assert factors.min() >= 0.8 - 1e-6
    assert factors.max() <= 1.2 + 1e-6
    assert np.ptp(factors) > 0.3


def test_slope_adds_a_line_of_mean_zero():
    for key in KEYS[:5]:
        line = np.asarray(sequence.slope(key, X, largest=0.7) - X)
        np.testing.assert_allclose(line.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(np.diff(line, n=2, axis=0), 0, atol=1e-6)
        assert 0 < abs(line[-1, 0] - line[0, 0]) <= 0.7


def test_noise_has_the_deviation_asked_for():
    added = np.stack([sequence.noise(key, X, deviation=0.3) - X for key in KEYS])
    assert added.std() == pytest.approx(0.3, rel=0.05)
    assert abs(added.mean()) < 0.03


def test_written_as_words_and_keyed_by_example():
    words = augment.parse("roll:3,stretch:0.9:1.1,gain:0.8:1.2,slope:0.5,noise:0.1")
    keys = jax.random.split(jax.random.key(1), 4)
    batch = augment.apply(words, keys, {"image": jnp.broadcast_to(X, (4, *X.shape))})["image"]
    alone = augment.apply(words, keys[2:3], {"image": X[None]})["image"]
    np.testing.assert_allclose(batch[2], alone[0], atol=1e-6)


@pytest.mark.parametrize("word", ["roll:3", "stretch:0.9:1.1", "slope:0.5"])
def test_pictures_are_refused(word):
    with pytest.raises(ValueError, match="is for sequences"):
        augment.parse(word)(KEYS[0], {"image": jnp.zeros((4, 4, 1))})
