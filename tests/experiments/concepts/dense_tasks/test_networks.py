"""The networks and scenes of the later sections, against a library's layers and by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.concepts import features_measured
from experiments.concepts.deep_chains import Chain, Convolution, without
from experiments.concepts.dense_networks import Classifier, boxes_of, confusion, mean_iou
from experiments.concepts.scenes import CELLS, DIGIT, LEAST, MOST, middles, scenes


@pytest.fixture(scope="module")
def digits():
    rng = np.random.default_rng(0)
    images = (rng.random((20, 8, 8, 1)) > 0.5).astype(np.float32)
    return {"image": images, "label": np.arange(20) % 10}


def test_a_convolution_by_one_product_is_the_library_s():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    ours, theirs = Convolution(4, 2.0), nn.Conv(4, (3,))
    variables = ours.init(jax.random.key(0), x)
    weights = variables["params"]["window"]
    same = {"kernel": weights["kernel"].reshape(3, 3, 4), "bias": weights["bias"]}
    np.testing.assert_allclose(
        ours.apply(variables, x), theirs.apply({"params": same}, x), atol=1e-6
    )


def test_a_block_of_zeros_with_a_shortcut_is_none():
    x = np.random.default_rng(0).normal(size=(2, 40, 1)).astype(np.float32)
    model = Chain(3, residual=True)
    variables = jax.device_get(model.init(jax.random.key(0), x, train=False))
    weights = variables["params"]["blocks"]["second"]["window"]["kernel"]
    assert weights.shape == (3, 48, 16)
    zeroed = weights.copy()
    zeroed[1] = 0
    variables["params"]["blocks"]["second"]["window"]["kernel"] = zeroed
    whole = model.apply(variables, x, train=False)
    shorter = Chain(2, residual=True)
    np.testing.assert_allclose(
        shorter.apply(without(variables, 1), x, train=False), whole, atol=1e-5
    )
    other = shorter.apply(without(variables, 0), x, train=False)
    assert abs(np.asarray(other) - np.asarray(whole)).max() > 1e-3


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


def test_a_digit_and_its_shuffled_twin_share_an_image(digits):
    data = features_measured.beside(digits, seed=0)
    square = features_measured._square
    own, twin = square(data["place"]), square(data["twin"])
    assert not (own & twin).any()
    image = data["image"][..., 0]
    assert np.array_equal(image[own].reshape(-1, 8, 8), digits["image"][..., 0])
    assert (image * ~(own | twin)).sum() == 0
    whole = np.ones((len(own), 8, 8))
    assert features_measured._inside(whole, data["place"]) == pytest.approx(0.25)
