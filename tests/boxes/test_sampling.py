"""Draws for the two stages of Faster R-CNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.boxes.sampling import sample_balanced

draw = jax.jit(sample_balanced, static_argnames=("size", "share"))


@pytest.mark.parametrize(
    ("positives", "negatives", "size", "share", "expected"),
    [
        (30, 100, 20, 0.5, (10, 10)),  # enough of both
        (3, 100, 20, 0.5, (3, 17)),  # negatives fill up
        (30, 4, 20, 0.5, (10, 4)),  # positives do not
        (0, 100, 20, 0.25, (0, 20)),
        (30, 0, 20, 0.25, (5, 0)),
        (0, 0, 20, 0.25, (0, 0)),
        (30, 100, 400, 0.5, (30, 100)),  # more asked for than there are
        (30, 100, 20, 0.0, (0, 20)),
    ],
)
def test_counts(positives, negatives, size, share, expected):
    kind = np.zeros(150, int)
    kind[:positives], kind[40 : 40 + negatives] = 1, -1
    kind = np.random.default_rng(0).permutation(kind)
    indices, valid = draw(jax.random.key(0), kind == 1, kind == -1, size=size, share=share)
    assert indices.shape == valid.shape == (size,)
    drawn = np.asarray(indices)[np.asarray(valid)]
    assert len({*drawn.tolist()}) == len(drawn)  # without replacement
    assert tuple((kind[drawn] == sign).sum() for sign in (1, -1)) == expected
    assert (kind[drawn[: expected[0]]] == 1).all()


def test_everyone_is_drawn_as_often():
    keys = jax.random.split(jax.random.key(0), 4000)
    positive, negative = jnp.arange(12) < 4, jnp.arange(12) >= 6
    indices, valid = jax.vmap(lambda key: draw(key, positive, negative, size=6, share=0.5))(keys)
    assert valid.all()
    counts = np.bincount(np.asarray(indices).ravel(), minlength=12) / 4000
    np.testing.assert_allclose(counts[:4], 3 / 4, atol=0.03)
    np.testing.assert_allclose(counts[4:6], 0)
    np.testing.assert_allclose(counts[6:], 3 / 6, atol=0.03)
