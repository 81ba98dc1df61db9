"""Picture and labels move together: checked on pictures that carry their labels as a colour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import with_mask


def example(seed=0):
    """Blocks of 8x8 pixels of one class, each shown in the picture as class / 10."""
    blocks = np.random.default_rng(seed).integers(0, 10, (3, 4))
    label = np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)
    return jnp.asarray(label[..., None] / 10, jnp.float32), jnp.asarray(label)


@pytest.mark.parametrize(
    "specification",
    [
        "flip:1",
        "vertical_flip:1",
        "rotate:30",
        "affine:20:0.2:0.7:1.5",
        "scale:0.5:0.9",
        "crop:16",
        "crop:40:48",
        "scaled_crop:0.5:2:16:20",
        "scaled_crop:0.4:0.6:30:40",
        "flip,crop:20,rotate:10",
    ],
)
def test_labels_stay_with_their_pixels(specification):
    image, label = example()
    augment = jax.jit(with_mask.parse(specification))
    shares = []
    for seed in range(4):
        moved, truth = augment(jax.random.key(seed), image, label)
        assert moved.shape[:2] == truth.shape
        assert truth.dtype == label.dtype
        inside = np.asarray(truth) != with_mask.IGNORE
        assert inside.any()
        seen = np.round(np.asarray(moved)[..., 0] * 10).astype(int)
        # Where a pixel and its neighbours have one class, interpolation cannot blur it.
        padded = np.pad(np.asarray(truth, int), 1, constant_values=-1)
        neighbours = np.stack(
            [np.roll(padded, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        )[:, 1:-1, 1:-1]
        sure = inside & (neighbours == neighbours[0]).all(0)
        shares.append((seen == np.asarray(truth))[sure].mean())
    assert np.mean(shares) > 0.995


def test_what_comes_from_outside_is_ignored():
    image, label = example()
    _, truth = with_mask.parse("scale:0.5:0.5")(jax.random.key(0), image, label)
    outside = np.asarray(truth) == with_mask.IGNORE
    assert outside.mean() == pytest.approx(0.75, abs=0.01)
    assert not outside[6:18, 8:24].any()


def test_a_crop_shows_every_place_equally():
    label = jnp.arange(12, dtype=jnp.uint8).reshape(1, 12).repeat(12, 0)
    image = label[..., None].astype(jnp.float32)
    crop = with_mask.parse("crop:4")
    keys = jax.random.split(jax.random.key(0), 900)
    _, labels = jax.vmap(lambda key: crop(key, image, label))(keys)
    first, counts = np.unique(labels[:, 0, 0], return_counts=True)
    assert list(first) == list(range(9))
    assert counts.min() > 60  # of 100 expected; six standard deviations would be 43


def test_a_scaled_crop_reaches_all_of_an_enlarged_picture():
    label = jnp.arange(16, dtype=jnp.uint8).reshape(1, 16).repeat(16, 0)
    image = label[..., None].astype(jnp.float32)
    crop = with_mask.parse("scaled_crop:2:2:8")
    keys = jax.random.split(jax.random.key(0), 300)
    _, labels = jax.vmap(lambda key: crop(key, image, label))(keys)
    assert (np.asarray(labels) != with_mask.IGNORE).all()  # the window lies inside
    assert set(np.unique(labels)) == set(range(16))


def test_the_result_depends_on_the_key_of_the_example_alone():
    image, label = example()
    augment = with_mask.parse("flip,affine:20:0.1:0.8:1.2,crop:16,colour:0.3")
    keys = jax.random.split(jax.random.key(3), 4)
    images, labels = jax.vmap(lambda key: augment(key, image, label))(keys)
    for i, key in enumerate(keys):
        one_image, one_label = augment(key, image, label)
        np.testing.assert_array_equal(one_label, labels[i])
        np.testing.assert_allclose(one_image, images[i], atol=1e-6)


def test_colour_leaves_the_labels_alone():
    image, label = example()
    changed, same = with_mask.parse("colour:0.9")(jax.random.key(1), image, label)
    np.testing.assert_array_equal(same, label)
    assert np.abs(changed - image).max() > 0.01


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("flop", "did you mean flip.*Known: flip"),
        ("rotate", r"'rotate': 0 values, but it is written rotate:degrees"),
        ("crop:x", "height is 'x', wanted a number"),
        ("mixup:1", "unknown augmentation of picture and mask 'mixup'"),
    ],
)
def test_errors(specification, message):
    with pytest.raises(ValueError, match=message):
        with_mask.parse(specification)
