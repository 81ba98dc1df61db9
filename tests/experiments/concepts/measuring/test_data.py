"""The small sets of the lesson."""

import numpy as np

from experiments.concepts.measuring import data


def test_a_digit_lies_where_its_place_says():
    images = np.ones((5, 8, 8, 1), np.float32)
    placed = data.on_canvas({"image": images, "label": np.arange(5)}, 16, seed=0)
    assert placed["image"].sum((1, 2, 3)).tolist() == [64] * 5
    for picture, (top, left) in zip(placed["image"], placed["place"], strict=True):
        assert picture[top : top + 8, left : left + 8].sum() == 64
