"""Random crops: the windows that there are, each as often as the others, and their exact pixels."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import crops, geometry
from tests.augment.test_place import SHAPES, apply, examples, of_image


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("rank", SHAPES)
def test_crops_are_the_windows_of_the_padded_image_and_uniform(rank, mode):
    padding, count = 2, 1500
    shape = SHAPES[rank]
    keys, images = examples(shape, count)
    image = images[0]
    crop = jax.jit(jax.vmap(partial(crops.pad_and_crop, padding=padding, mode=mode), (0, None)))
    got = np.asarray(crop(keys, image))
    padded = np.pad(image, [(padding, padding)] * rank + [(0, 0)], mode=mode)
    windows = {
        padded[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=False))].tobytes(): i
        for i, offset in enumerate(np.ndindex(*[2 * padding + 1] * rank))
    }
    assert len(windows) == 5**rank
    seen = np.bincount([windows[crop.tobytes()] for crop in got], minlength=5**rank)
    assert stats.chisquare(seen).pvalue > 1e-3


def test_crop_without_padding_is_the_identity():
    keys, images = examples((5, 5, 3), 2)
    for mode in ("reflect", "constant"):
        crop = partial(crops.pad_and_crop, padding=0, mode=mode)
        np.testing.assert_array_equal(apply(crop, keys, images), images)


def test_resized_crop_of_everything_is_a_resize():
    _, (image,) = examples((12, 16, 3), 1)
    crop = of_image(crops.resized_crop, size=6, smallest=1.0, ratio=(4 / 3, 4 / 3))
    want = geometry.crop_and_resize(image, (0, 0), (12, 16), (6, 6))
    np.testing.assert_allclose(crop(jax.random.key(0), image), want, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "box"),
    [((8, 40, 1), (0, 14, 8, 11)), ((40, 8, 1), (14, 0, 11, 8))],
)
def test_resized_crop_falls_back_to_the_central_box(shape, box):
    """No box of ratio 3/4..4/3 has the whole area of a picture of ratio 5."""
    _, (image,) = examples(shape, 1)
    got = of_image(crops.resized_crop, size=6, smallest=0.99)(jax.random.key(0), image)
    want = geometry.crop_and_resize(image, box[:2], box[2:], (6, 6))
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 3])
def test_resized_crop_of_other_ranks(rank):
    keys, images = examples(SHAPES[rank], 4)
    crop = of_image(crops.resized_crop, size=5, smallest=0.3, largest=0.9)
    got = apply(crop, keys, images)
    assert got.shape == (4, *[5] * rank, SHAPES[rank][-1])
    assert float(got.min()) >= 0
    assert float(got.max()) <= 1
