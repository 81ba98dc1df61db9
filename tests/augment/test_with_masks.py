"""Image and mask move together: checked on images that carry their classes as a colour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import IGNORE, apply, parse


def example(seed=0):
    """Blocks of 8x8 pixels of one class, each shown in the image as class / 10."""
    blocks = np.random.default_rng(seed).integers(0, 10, (3, 4))
    label = np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)
    return {"image": jnp.asarray(label[..., None] / 10, jnp.float32), "mask": jnp.asarray(label)}


def augmentation(text):
    """(key, example) -> image, mask."""
    parsed = parse(text, holds="mask")

    def augment(key, example):
        moved = parsed(key, example)
        return moved["image"], moved["mask"]

    return augment


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
        "resized_crop:20:0.3",
        "shear:15",
        "affine:10:largest=1.3:stretch=1.2",
        "scaled_crop:0.4:0.6:30:40",
        "flip,crop:20,rotate:10",
    ],
)
def test_labels_stay_with_their_pixels(specification):
    start = example()
    augment = jax.jit(augmentation(specification))
    shares = []
    for seed in range(4):
        moved, truth = augment(jax.random.key(seed), start)
        assert moved.shape[:2] == truth.shape
        assert truth.dtype == start["mask"].dtype
        inside = np.asarray(truth) != IGNORE
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
    _, truth = augmentation("scale:0.5:0.5")(jax.random.key(0), example())
    outside = np.asarray(truth) == IGNORE
    assert outside.mean() == pytest.approx(0.75, abs=0.01)
    assert not outside[6:18, 8:24].any()


def test_a_crop_shows_every_place_equally():
    label = jnp.arange(12, dtype=jnp.uint8).reshape(1, 12).repeat(12, 0)
    image = label[..., None].astype(jnp.float32)
    crop = augmentation("crop:4")
    keys = jax.random.split(jax.random.key(0), 900)
    _, labels = jax.vmap(lambda key: crop(key, {"image": image, "mask": label}))(keys)
    first, counts = np.unique(labels[:, 0, 0], return_counts=True)
    assert list(first) == list(range(9))
    assert counts.min() > 60  # of 100 expected; six standard deviations would be 43


def test_a_scaled_crop_reaches_all_of_an_enlarged_image():
    label = jnp.arange(16, dtype=jnp.uint8).reshape(1, 16).repeat(16, 0)
    image = label[..., None].astype(jnp.float32)
    crop = augmentation("scaled_crop:2:2:8")
    keys = jax.random.split(jax.random.key(0), 300)
    _, labels = jax.vmap(lambda key: crop(key, {"image": image, "mask": label}))(keys)
    assert (np.asarray(labels) != IGNORE).all()  # the window lies inside
    assert set(np.unique(labels)) == set(range(16))


def test_the_result_depends_on_the_key_of_the_example_alone():
    augment = parse("flip,affine:20:0.1:0.8:1.2,crop:16,colour:0.3", holds="mask")
    keys = jax.random.split(jax.random.key(3), 4)
    batch = {name: jnp.stack([array] * 4) for name, array in example().items()}
    together = apply(augment, keys, batch)
    for i, key in enumerate(keys):
        alone = augment(key, example())
        np.testing.assert_array_equal(alone["mask"], together["mask"][i])
        np.testing.assert_allclose(alone["image"], together["image"][i], atol=1e-6)


def test_colour_leaves_the_labels_alone():
    start = example()
    changed, same = augmentation("colour:0.9")(jax.random.key(1), start)
    np.testing.assert_array_equal(same, start["mask"])
    assert np.abs(changed - start["image"]).max() > 0.01
