"""Cutout and random erasing: what is hidden, where, how often."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import erase


def many(function, count, image):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(function, (0, None)))(keys, image))


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("space", [(9,), (7, 9), (5, 6, 7)])
def test_cutout_hides_a_cube_with_its_centre_anywhere(space, size):
    hidden = many(partial(erase.cutout, size=size, fill=0.0), 1000, jnp.ones((*space, 2)))
    hidden = (hidden == 0).all(-1)
    half = size // 2
    position = np.arange(space[-1])
    allowed = {
        tuple((position >= c - half) & (position < c - half + size)) for c in range(space[-1])
    }
    profile = hidden.any(axis=tuple(range(1, len(space))))  # along the last axis
    assert {tuple(p) for p in profile} == allowed
    for one in hidden[:50]:
        sides = [
            one.any(tuple(a for a in range(one.ndim) if a != axis)) for axis in range(one.ndim)
        ]
        assert one.sum() == np.prod([side.sum() for side in sides])  # a full box
    # Each last pixel alone is hidden by the centres within reach of it.
    rate = hidden.reshape(1000, -1, space[-1]).any(1)[:, 0].mean()
    reach = sum(c - half <= 0 < c - half + size for c in range(space[-1])) / space[-1]
    assert rate == pytest.approx(reach, abs=0.06)


def test_cutout_fills_with_grey_and_leaves_the_rest():
    image = jax.random.uniform(jax.random.key(1), (8, 8, 3))
    got = erase.cutout(jax.random.key(0), image, size=4)
    changed = (got != image).all(-1)
    assert 4 <= int(changed.sum()) <= 16
    np.testing.assert_array_equal(got[changed], 0.5)
    np.testing.assert_array_equal(got[~changed], image[~changed])


def test_random_erasing_rate_area_and_noise():
    image = jnp.full((40, 40, 1), 2.0)
    got = many(partial(erase.random_erasing, probability=0.3), 1000, image)[..., 0]
    area = (got != 2).sum((1, 2)) / 1600
    assert stats.binomtest(int((area > 0).sum()), 1000, 0.3).pvalue > 1e-3
    assert area[area > 0].min() > 0.015
    assert area.max() < 1 / 3 + 0.02  # sides are whole pixels
    values = got[got != 2]
    assert stats.kstest(values[:5000], stats.uniform(0, 1).cdf).pvalue > 1e-3
    filled = many(partial(erase.random_erasing, probability=1.0, fill=0.25), 20, image)
    assert set(np.unique(filled)) == {0.25, 2.0}
