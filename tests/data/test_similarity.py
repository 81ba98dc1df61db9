"""Similar examples of two splits, and the smallest and largest objects."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import objects, similarity


def test_copies_are_found_however_they_were_saved():
    rng = np.random.default_rng(0)
    first = [rng.integers(0, 256, (4, 4, 3)).repeat(12, 0).repeat(12, 1) for _ in range(30)]
    second = [rng.integers(0, 256, (4, 4, 3)).repeat(12, 0).repeat(12, 1) for _ in range(20)]
    second[3] = first[17].copy()
    smaller = Image.fromarray(first[5].astype(np.uint8)).resize((20, 31), Image.Resampling.BOX)
    second[11] = np.asarray(smaller) // 2 + 40  # darker too
    found = similarity.most_similar(
        *([similarity.thumbnail(image) for image in some] for some in (first, second)), 5
    )
    assert [(pair.first, pair.second) for pair in found[:2]] == [(17, 3), (5, 11)]
    assert found[0].correlation == pytest.approx(1, abs=1e-6)
    assert found[1].correlation > 0.95 > 0.9 > found[2].correlation
    assert len({pair.first for pair in found}) == len(found) == 5


def test_plain_ones_are_alike_by_their_grey_level_alone():
    """Two black images are copies to look at, and the correlation of their noise is none."""
    rng = np.random.default_rng(0)
    black = [rng.integers(0, 2, (8, 8, 1)) for _ in range(2)]
    white = 255 - rng.integers(0, 2, (8, 8, 1))
    stripes = np.tile([[0], [255]], (8, 4, 1))
    thumbnails = [similarity.thumbnail(image) for image in (*black, white, stripes)]
    found = similarity.most_similar(thumbnails[:1], thumbnails[1:], 3)
    assert [(pair.second, pair.correlation) for pair in found] == [(0, 1.0)]


def test_thumbnails_are_means():
    image = np.arange(64 * 48).reshape(64, 48, 1)
    means = image.reshape(16, 4, 16, 3).mean((1, 3)).ravel()
    np.testing.assert_allclose(similarity.thumbnail(image), means, rtol=1e-6)
    assert similarity.thumbnail(np.zeros((40, 2))).shape == (80,)
    assert similarity.thumbnail(np.zeros((20, 30, 40, 1))).shape == (16**3,)
    assert similarity.thumbnail(np.zeros((5, 7, 3))).shape == (35,)


def test_regions_of_a_mask():
    """Regions touch along their sides: two pixels at a corner are two regions."""
    mask = np.zeros((10, 20), int)
    mask[1:4, 2:6] = 1
    mask[8, 19], mask[7, 18] = 1, 1
    mask[5:, :10] = 2
    found = objects.in_mask(4, mask, [1])
    assert sorted((o.share * 200, o.box) for o in found) == [
        (1, (0.9, 0.7, 0.95, 0.8)),
        (1, (0.95, 0.8, 1.0, 0.9)),
        (12, (0.1, 0.1, 0.3, 0.4)),
    ]
    found += objects.in_mask(5, mask, [2])
    small, large = objects.extremes(found, 6)
    assert [(o.record, o.label, round(o.share * 200)) for o in small] == [(4, 1, 1), (5, 2, 50)]
    assert [(o.record, o.label, round(o.share * 200)) for o in large] == [(5, 2, 50), (4, 1, 12)]
