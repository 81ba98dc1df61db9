"""Random colour: ranges, order, and what grey pictures do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import colour, jitter


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def many(function, count, image):
    return np.asarray(jax.jit(jax.vmap(function, (0, None)))(keys(count), image))


@pytest.mark.parametrize(("brightness", "low"), [(0.4, 0.6), (1.5, 0.0)])
def test_brightness_factor_is_uniform(brightness, low):
    image = jnp.full((1, 1, 1), 0.2)
    got = many(partial(jitter.colour_jitter, brightness=brightness), 1000, image)[:, 0, 0, 0] / 0.2
    high = 1 + brightness
    assert stats.kstest(got, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_hue_shift_is_uniform():
    red = jnp.zeros((1, 1, 3)).at[..., 0].set(1.0)
    got = many(partial(jitter.colour_jitter, hue=0.1), 1000, red)[:, 0, 0]
    shift = np.where(got[:, 1] > 0, got[:, 1], -got[:, 2]) / 6  # towards green, towards blue
    assert stats.kstest(shift, stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3


def test_each_order_of_two_operations_occurs():
    """Brightness that clips, then contrast, is not contrast, then brightness."""
    image = jnp.array([0.1, 0.4, 0.7, 0.9]).reshape(2, 2, 1)
    options = {"brightness": 0.9, "contrast": 0.9}
    got = many(partial(jitter.colour_jitter, **options), 300, image)
    _, factor_keys, _ = jax.vmap(partial(jax.random.split, num=3), out_axes=1)(keys(300))
    strength = jnp.array([0.9, 0.9, 0.0])
    factors = jax.vmap(
        lambda key: jax.random.uniform(key, (3,), minval=1 - strength, maxval=1 + strength)
    )(factor_keys)

    def both(b, c):
        def brighter(x):
            return colour.blend(x, own=b)

        def steeper(x):
            return colour.blend(x, own=c, mean=1 - c)

        return steeper(brighter(image)), brighter(steeper(image))

    one, other = jax.vmap(both)(factors[:, 0], factors[:, 1])
    axes = (1, 2, 3)
    is_one = (np.abs(got - one) < 1e-5).all(axes)
    is_other = (np.abs(got - other) < 1e-5).all(axes)
    assert (is_one | is_other).all()
    assert (
        stats.binomtest(int((is_one & ~is_other).sum()), int((is_one ^ is_other).sum())).pvalue
        > 1e-3
    )


def test_nothing_to_do_is_the_identity():
    image = jax.random.uniform(jax.random.key(0), (4, 4, 3))
    np.testing.assert_array_equal(jitter.colour_jitter(keys(1)[0], image), image)
    np.testing.assert_array_equal(
        jitter.random_grayscale(keys(1)[0], image, probability=0.0), image
    )


def test_a_grey_picture_keeps_one_channel_and_ignores_hue_and_saturation():
    image = jax.random.uniform(jax.random.key(0), (4, 4, 1))
    got = jitter.colour_jitter(keys(1)[0], image, saturation=0.9, hue=0.5)
    np.testing.assert_allclose(got, image, atol=1e-6)


def test_grayscale_and_blur_rates():
    image = jax.random.uniform(jax.random.key(0), (8, 8, 3))
    grey = many(jitter.random_grayscale, 1000, image)
    count = int((np.ptp(grey, axis=-1) < 1e-6).all((1, 2)).sum())
    assert stats.binomtest(count, 1000, 0.2).pvalue > 1e-3
    blurred = many(partial(jitter.random_blur, sigma=(1.0, 2.0)), 1000, image)
    count = int((blurred != np.asarray(image)).any((1, 2, 3)).sum())
    assert stats.binomtest(count, 1000, 0.5).pvalue > 1e-3
    assert blurred.var((1, 2)).min() < 0.2 * float(image.var((0, 1)).min())
