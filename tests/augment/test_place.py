"""Random changes of place: what they do, how often, and that they depend on nothing else."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import auto_augment, crops, erase, jitter, parse, place

SHAPES = {1: (11, 2), 2: (10, 8, 3), 3: (6, 7, 8, 1)}


def of_image(step, **numbers):
    """A step as a function of the key and the image alone."""
    return lambda key, image: step(key, {"image": image}, **numbers)["image"]


def apply(augmentation, keys, images):
    return jax.vmap(augmentation)(keys, images)


FLIP, VERTICAL = of_image(place.flip), of_image(place.vertical_flip)


def examples(shape, count, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return keys, jax.random.uniform(jax.random.key(seed + 1), (count, *shape))


@pytest.mark.parametrize("rank", SHAPES)
def test_flip_reverses_the_last_spatial_axis_half_of_the_time(rank):
    _, image = examples(SHAPES[rank], 1)
    keys, _ = examples(SHAPES[rank], 2000)
    images = jnp.broadcast_to(image, (2000, *SHAPES[rank]))
    got = np.asarray(apply(FLIP, keys, images))
    flipped = (got == np.flip(image, -2)).all(axis=tuple(range(1, got.ndim)))
    same = (got == np.asarray(image)).all(axis=tuple(range(1, got.ndim)))
    assert (flipped ^ same).all()
    assert stats.binomtest(int(flipped.sum()), 2000, 0.5).pvalue > 1e-3


def test_flip_never_and_always():
    keys, images = examples((4, 5, 3), 8)
    for flip, axis in ((place.flip, 2), (place.vertical_flip, 1)):
        never = apply(of_image(flip, probability=0.0), keys, images)
        always = apply(of_image(flip, probability=1.0), keys, images)
        np.testing.assert_array_equal(never, images)
        np.testing.assert_array_equal(always, np.flip(images, axis))


def test_random_affine_within_its_bounds():
    """A bright pixel off the centre: where it goes shows the angle and the shift."""
    image = jnp.zeros((41, 41, 1)).at[18:23, 28:33].set(1.0)  # centred at (+10, 0)
    keys = jax.random.split(jax.random.key(0), 400)
    y, x = np.mgrid[-20:21, -20:21]

    def centroids(**options):
        move = of_image(place.affine, **options)
        moved = np.asarray(jax.jit(jax.vmap(move, (0, None)))(keys, image))[..., 0]
        total = moved.sum((1, 2))
        return (moved * x).sum((1, 2)) / total, (moved * y).sum((1, 2)) / total

    u, v = centroids(degrees=40)
    np.testing.assert_allclose(np.hypot(u, v), 10, atol=0.2)
    angle = np.rad2deg(np.arctan2(v, u))
    assert stats.kstest(angle, stats.uniform(-40, 80).cdf).pvalue > 1e-3
    u, v = centroids(translate=0.1)
    assert np.abs(u - 10).max() <= 4.11
    assert stats.kstest(v, stats.uniform(-4.1, 8.2).cdf).pvalue > 1e-3
    u, v = centroids(smallest=0.5, largest=1.5)
    assert 4.9 < u.min() < 5.5
    assert 14 < u.max() < 15.1
    _, v = centroids(shear=30)
    assert np.abs(v).max() == pytest.approx(10 * np.tan(np.deg2rad(30)), rel=0.1)


def test_each_step_has_a_key_of_its_own():
    """Two flips under one key would always cancel; under their own they do half of the time."""
    keys, images = examples((3, 6, 1), 500)
    got = apply(of_image(parse("flip,flip")), keys, images)
    unchanged = int((got == images).all(axis=(1, 2, 3)).sum())
    assert stats.binomtest(unchanged, 500, 0.5).pvalue > 1e-3


EVERYTHING = {
    "flip": FLIP,
    "crop": partial(crops.pad_and_crop, padding=3),
    "resized_crop": of_image(crops.resized_crop, size=6),
    "affine": of_image(place.affine, degrees=20, translate=0.1, shear=5),
    "jitter": partial(jitter.colour_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "grey": jitter.random_grayscale,
    "blur": jitter.random_blur,
    "rand_augment": auto_augment.rand_augment,
    "trivial_augment": auto_augment.trivial_augment,
    "cutout": partial(erase.cutout, size=4),
    "erasing": partial(erase.random_erasing, probability=0.7),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_an_example_does_not_see_its_neighbours(name):
    keys, images = examples((10, 9, 3), 6)
    run = jax.jit(partial(apply, EVERYTHING[name]))
    order = jnp.array([4, 0, 5, 3, 2, 1])
    want = run(keys, images)[order]
    np.testing.assert_allclose(run(keys[order], images[order]), want, atol=1e-6)
    assert float(want.min()) >= 0
    assert float(want.max()) <= 1 + 1e-5
    if want.shape == images.shape:
        assert (want != images[order]).any()


def test_the_layout_does_not_matter():
    """One example alone, six together, and three on each of two devices: the same result."""
    keys, images = examples((10, 9, 3), 6)
    run = partial(apply, of_image(parse("flip,crop:3,colour:0.4:0.4:0.4:0.1,cutout:4")))
    together = jax.jit(run)(keys, images)
    alone = jax.jit(run)(keys[2:3], images[2:3])
    np.testing.assert_allclose(alone, together[2:3], atol=1e-6)
    split = jax.pmap(run, devices=jax.devices()[:2])(
        keys.reshape(2, 3), images.reshape(2, 3, 10, 9, 3)
    )
    np.testing.assert_allclose(split.reshape(images.shape), together, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_and_channels_are_kept(dtype, channels):
    keys, images = examples((10, 9, channels), 4)
    for name, augmentation in EVERYTHING.items():
        got = jax.eval_shape(partial(apply, augmentation), keys, images.astype(dtype))
        assert got.dtype == dtype, name
        size = (6, 6) if name == "resized_crop" else (10, 9)
        assert got.shape == (4, *size, channels), name


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_eager_and_jitted(self):
        (key,), (image,) = examples((8, 8, 3), 1)
        for name in ("flip", "crop", "jitter", "cutout"):
            got = self.variant(EVERYTHING[name])(key, image)
            want = jax.jit(EVERYTHING[name])(key, image)
            np.testing.assert_allclose(got, want, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(crops.pad_and_crop, padding=8), "padding 8 does not suit"),
        (partial(crops.pad_and_crop, padding=-1, mode="constant"), "padding -1"),
        (partial(crops.pad_and_crop, padding=1, mode="wrap"), "'wrap'"),
        (of_image(crops.resized_crop, size=4, smallest=0.5, largest=1.5), "largest=1.5"),
        (of_image(crops.resized_crop, size=4, ratio=(2.0, 0.5)), "ratio"),
        (of_image(place.affine, smallest=0.0), "smallest=0.0"),
        (of_image(place.affine, smallest=1.2, largest=0.8), "smallest <= largest"),
        (of_image(place.affine, stretch=0.5), "stretch=0.5"),
        (lambda key, image: place.affine(key, {"image": image[0]}), "is for images"),
        (partial(jitter.colour_jitter, hue=0.6), "hue=0.6"),
        (partial(erase.cutout, size=-1), "size"),
        (partial(auto_augment.rand_augment, magnitude=31), "magnitude=31"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jax.random.key(0), jnp.zeros((8, 8, 3)))
