"""The networks and scenes for pixels and boxes, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.concepts.dense_tasks.networks import Classifier, boxes_of, confusion, mean_iou
from experiments.concepts.dense_tasks.scenes import CELLS, DIGIT, LEAST, MOST, middles, scenes


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    images = (rng.random((20, 8, 8, 1)) > 0.5).astype(np.float32)
    return {"image": images, "label": np.arange(20) % 10}


def test_boxes_are_around_their_digits_and_cells_point_at_them(digits):
    data = scenes(digits, 30, seed=1)
    there = data["truth"][..., 5] >= 0
    assert there.sum(1).min() >= LEAST
    assert there.sum(1).max() <= MOST
    for i, k in zip(*np.nonzero(there), strict=True):
        left, top, right, bottom = data["truth"][i, k, :4].astype(int)
        name = int(data["truth"][i, k, 5]) + 1
        row, column = data["place"][i, k]
        own = np.zeros((32, 32), bool)
        own[row : row + DIGIT, column : column + DIGIT] = True
        inked = own & (data["label"][i] == name)
        rows, columns = np.nonzero(inked)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (
            left, top, right, bottom,
        )  # fmt: skip
    # corners again from the cells
    corners = np.concatenate(
        [middles() - data["sides"][..., :2], middles() + data["sides"][..., 2:]], -1
    )
    i, y, x = (each[0] for each in np.nonzero(data["cells"]))
    assert corners[i, y, x].tolist() in data["truth"][i, :, :4].tolist()


def test_suppression_leaves_one_box_of_those_for_a_digit(digits):
    data = scenes(digits, 4, seed=2)
    logits = 20 * np.eye(11, dtype=np.float32)[data["cells"]]
    every, best = map(np.asarray, boxes_of({"cells": logits, "sides": data["sides"]}))
    for i in range(4):
        found = {tuple(row[:4]) for row in best[i] if row[5] >= 0}
        truth = {tuple(row[:4]) for row in data["truth"][i] if row[5] >= 0}
        seen = truth & {tuple(row[:4]) for row in every[i] if row[5] >= 0}
        assert found == seen  # a small digit may lie between the middles of cells
        assert (best[i, :, 5] >= 0).sum() == len(found)
    assert (every[..., 5] >= 0).sum() == (data["cells"] > 0).sum() > (best[..., 5] >= 0).sum()


def test_the_mean_of_classes_everywhere_is_the_class():
    x = np.random.default_rng(0).random((2, 16, 16, 1)).astype(np.float32)
    whole = Classifier()
    variables = whole.init(jax.random.key(0), x, train=False)
    places = Classifier(everywhere=True).apply(variables, x, train=False)
    assert places.shape == (2, CELLS // 2, CELLS // 2, 10)
    expected = whole.apply(variables, x, train=False)
    np.testing.assert_allclose(jnp.mean(places, (1, 2)), expected, atol=1e-5)


def test_mean_iou_by_hand():
    counts = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
    assert counts.tolist() == [[1, 0], [1, 2]]
    assert mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)
