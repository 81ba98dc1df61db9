"""Airbench: the whitening of patches, the partial identity, and what the optimiser does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import lecun_uniform
from cnn_jax.models import create, describe
from cnn_jax.models.airbench import EPSILON, dirac, whitening
from cnn_jax.train import state

WIDTHS = (8, 12, 12)


def correlated_images(count: int = 40, side: int = 12, channels: int = 3) -> np.ndarray:
    """Noise that is correlated along both axes and over the channels, with a spectrum far above
    the epsilon."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, side + 1, side + 1, channels))
    x = x[:, 1:] + 0.5 * x[:, :-1]
    x = x[:, :, 1:] + 0.5 * x[:, :, :-1]
    return (x @ (np.eye(channels) + 0.3)).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 12, 12, 3), (40, 12, 12, 1), (200, 30, 2)])
def test_filtered_patches_are_white(shape):
    count, *space, channels = shape
    images = correlated_images(count, max(space), channels)
    images = images if len(space) == 2 else images[:, :, 0]
    kernel = whitening(images)
    rank = len(space)
    size = 2**rank * channels
    assert kernel.shape == (*(2,) * rank, channels, 2 * size)
    np.testing.assert_array_equal(kernel[..., :size], -kernel[..., size:])

    layout = ("NHWC", "HWIO", "NHWC") if rank == 2 else ("NHC", "HIO", "NHC")
    filtered = jax.lax.conv_general_dilated(
        images, kernel, (1,) * rank, "VALID", dimension_numbers=layout
    )
    flat = np.asarray(filtered, np.float64)[..., :size].reshape(-1, size)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(size), atol=0.02)


def test_epsilon_keeps_silent_directions_small():
    images = np.repeat(
        correlated_images(channels=1), 3, axis=-1
    )  # grey: eight directions of twelve are 0
    kernel = whitening(images).reshape(12, 24)
    norms = np.linalg.norm(kernel, axis=0)
    assert norms.max() == pytest.approx(EPSILON**-0.5, rel=0.01)
    assert np.all(np.diff(norms[:12]) >= -1e-3)  # the most common direction first
    assert np.isfinite(kernel).all()


@pytest.mark.parametrize(("before", "after"), [(3, 5), (5, 3), (4, 4)])
def test_dirac_hands_on_what_it_gets(before, after):
    kernel = dirac(lecun_uniform)(jax.random.key(0), (3, 3, before, after))
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, before))
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    same = min(before, after)
    np.testing.assert_allclose(y[..., :same], x[..., :same], atol=1e-6)
    rest = dirac(lecun_uniform)(jax.random.key(2), (3, 3, before, after))[..., same:]
    assert after <= before or not np.array_equal(kernel[..., same:], rest)


def test_the_whitening_is_no_parameter_and_works_without_data():
    model = create("airbench", num_classes=10, widths=WIDTHS)
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = state.init_variables(model, x, seed=0)
    assert set(variables) == {"params", "batch_stats", "whitening"}
    assert set(variables["params"]["layer0"]) == {"bias"}
    half = variables["whitening"]["layer0"]["kernel"].reshape(12, 24)[:, :12]
    np.testing.assert_allclose(half.T @ half, np.eye(12), atol=1e-5)

    collection = describe("airbench").from_data(correlated_images())
    assert jax.tree.map(jnp.shape, collection) == jax.tree.map(
        jnp.shape, {"whitening": variables["whitening"]}
    )
    image = jnp.asarray(correlated_images(2, 32))
    assert not np.allclose(
        model.apply(variables, image, train=False),
        model.apply({**variables, **collection}, image, train=False),
    )
    _, changed = model.apply(variables, image, train=True, mutable=["batch_stats", "whitening"])
    np.testing.assert_array_equal(
        changed["whitening"]["layer0"]["kernel"], variables["whitening"]["layer0"]["kernel"]
    )


def test_stages_and_the_shortest_side():
    for size, sides in ((32, [31, 15, 7, 3]), (9, [8, 4, 2, 1])):
        model = create("airbench", num_classes=None, widths=WIDTHS)
        x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        stages = jax.eval_shape(
            lambda x, model=model: model.init_with_output(jax.random.key(0), x, train=False)[0], x
        )
        assert [stage.shape[1] for stage in stages.values()] == sides
    with pytest.raises(ValueError, match="8"):
        create("airbench", num_classes=10).init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False
        )
