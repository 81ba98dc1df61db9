import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers.resize import resize_linear
from cnn_jax.layers.unpool import max_pool_with_winners, max_unpool


@pytest.mark.parametrize("space", [(6,), (4, 6), (5, 7), (4, 2, 6)])
def test_unpooling_puts_every_maximum_back(space):
    """By brute force: loop over the windows of one channel."""
    x = np.random.default_rng(0).normal(size=(2, *space, 3)).astype(np.float32)
    pooled, winners = max_pool_with_winners(jnp.asarray(x))
    back = max_unpool(pooled, winners, space)
    expected_pool, expected = np.zeros(pooled.shape, np.float32), np.zeros_like(x)
    for b, *cell, c in np.ndindex(*pooled.shape):
        window = (b, *(slice(2 * i, 2 * i + 2) for i in cell), c)
        place = np.unravel_index(x[window].argmax(), x[window].shape)
        expected_pool[(b, *cell, c)] = x[window].max()
        expected[window][place] = x[window].max()
    np.testing.assert_array_equal(pooled, expected_pool)
    np.testing.assert_array_equal(back, expected)


def test_ties_go_to_one_place_only():
    pooled, winners = max_pool_with_winners(jnp.ones((1, 4, 4, 1)))
    assert max_unpool(pooled, winners, (4, 4)).sum() == 4


def test_the_gradient_flows_to_the_winners():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, 4, 2)))

    def total(x):
        pooled, winners = max_pool_with_winners(x)
        return (max_unpool(pooled, winners, (4, 4)) * jnp.arange(32.0).reshape(1, 4, 4, 2)).sum()

    gradient = jax.grad(total)(x)
    pooled, winners = max_pool_with_winners(x)
    won = max_unpool(jnp.ones_like(pooled), winners, (4, 4))
    np.testing.assert_allclose(gradient, won * jnp.arange(32.0).reshape(1, 4, 4, 2))


@pytest.mark.parametrize(
    ("space", "to"),
    [((4, 6), (8, 12)), ((3, 1), (9, 32)), ((3, 5), (10, 7)), ((9, 9), (4, 5)), ((2, 3), (2, 7))],
)
def test_resizing_is_pytorchs_interpolate(space, to):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, *space, 3)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2), size=to, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(
        resize_linear(jnp.asarray(x), to), theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5
    )


def test_a_ramp_keeps_its_slope():
    """Without torch: half-pixel centres map the ramp x to (x + 1/2) / 2 - 1/2, flat at its ends."""
    ramp = jnp.arange(4.0)[None, :, None]
    doubled = resize_linear(ramp, (8,))[0, :, 0]
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(doubled, expected, atol=1e-6)
