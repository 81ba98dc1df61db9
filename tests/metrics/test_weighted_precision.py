"""Average precision of images that count more than once, against pycocotools on copies of them."""

import numpy as np
import pytest

from cnn_jax.metrics import average_precision, weighted_precision


@pytest.fixture(scope="module")
def rows():
    """Detections and truth of 12 images with three classes, the last without an object."""
    rng = np.random.default_rng(0)
    truth = np.full((12, 4, 6), -1.0)
    detections = np.full((12, 8, 6), -1.0)
    for i in range(12):
        for j in range(rng.integers(0, 4)):
            left, top = rng.uniform(0, 80, 2)
            width, height = rng.uniform(10, 40, 2)
            label = rng.integers(2)
            box = np.array([left, top, left + width, top + height])
            truth[i, j] = [*box, rng.random() < 0.2, label]
            detections[i, 2 * j] = [*box + rng.normal(0, 3, 4), rng.random(), label]
            detections[i, 2 * j + 1] = [*box + rng.normal(0, 9, 4), rng.random(), rng.integers(3)]
    return detections, truth


def test_as_pycocotools_on_copies(rows):
    detections, truth = rows
    found = weighted_precision.outcomes(detections, truth, 3)
    weights = np.array([1, 0, 2, 1, 3, 1, 0, 0, 1, 2, 1, 1])
    for each in (np.ones(12, int), weights):
        copies = np.repeat(np.arange(12), each)
        wanted = average_precision.evaluate(detections[copies], truth[copies], "abc")
        table = weighted_precision.by_class(found, each.astype(float))
        own = weighted_precision.means(table)
        for name in ("ap", "ap50", "ap75", "recall100"):
            assert own[name] == pytest.approx(wanted[name], abs=2e-3), name
        assert table["ap"][0] == pytest.approx(wanted["ap/a"], abs=2e-3)
        assert np.isnan(table["ap"][2])
    assert weighted_precision.means(weighted_precision.by_class(found, np.ones(12)))[
        "ap"
    ] == pytest.approx(average_precision.evaluate(detections, truth, "abc")["ap"], abs=1e-9)


def test_nothing_to_find(rows):
    detections, truth = rows
    empty = np.full_like(truth, -1)
    found = weighted_precision.outcomes(detections, empty, 3)
    assert np.isnan(weighted_precision.means(weighted_precision.by_class(found, np.ones(12)))["ap"])
    found = weighted_precision.outcomes(np.full_like(detections, -1), truth, 3)
    assert weighted_precision.means(weighted_precision.by_class(found, np.ones(12)))["ap"] == 0
