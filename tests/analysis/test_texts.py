"""Texts in figures: none over another, none wider than its place."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from cnn_jax.analysis import detection_figures, texts


def overlaps(one, other):
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 0.5 and (
        min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5
    )


def test_labels_of_boxes_in_one_place_do_not_overprint():
    figure = Figure(figsize=(3, 3), layout="constrained")
    axis = figure.subplots()
    boxes = np.array([[0, 0, 20, 20], [1, 0, 21, 20], [0, 1, 20, 22], [50, 50, 64, 64]], float)
    names = ["cat 0.91", "dog 0.88", "a long name of a class 0.52", "bird 0.70"]
    image = np.zeros((64, 64, 3), np.uint8)
    drawn = detection_figures.draw_boxes(axis, image, boxes, names, [("#0072b2", "-")] * 4)
    figure.draw_without_rendering()
    before = [text.get_window_extent() for text in drawn]
    assert any(overlaps(*pair) for pair in itertools.combinations(before, 2))  # what it was
    texts.apart(axis, drawn, boxes)
    extents = [text.get_window_extent() for text in drawn]
    assert not any(overlaps(*pair) for pair in itertools.combinations(extents, 2))
    frame = axis.get_window_extent()
    for each in extents:
        assert frame.x0 - 1 <= each.x0 <= each.x1 <= frame.x1 + 1
        assert frame.y0 - 1 <= each.y0 <= each.y1 <= frame.y1 + 1


def test_names_are_wrapped_and_cut_to_their_place():
    assert texts.wrapped("a few words", 20) == "a few words"
    assert texts.wrapped("some words that are more", 10) == "some words\nthat are \u2026"
    assert texts.wrapped("$x$", 9) == r"\$x\$"
    assert texts.columns("猫 cat") == 6
    assert texts.cut("猫猫猫猫", 5) == "猫猫\u2026"
    assert texts.legend_columns(["a" * 40] * 3, 4.0, 8) == 1
    assert texts.legend_columns(list("abc"), 8.0, 8) == 3
