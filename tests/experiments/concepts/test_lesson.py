"""The sections of the lesson, told without measuring anything, in both languages."""

import re

import numpy as np

from experiments.concepts import data, explained, spread, syllabus


def test_every_section_is_told_in_both_languages():
    concepts = syllabus.concepts()
    assert [concept.name for concept in concepts] == list(syllabus.NAMES)
    for concept in concepts:
        texts = [concept.title, concept.guess, explained.both(concept.explain)]
        for text in texts:
            assert re.search(r"[\u4e00-\u9fff]", text.zh)
            assert not re.search(r"[\u4e00-\u9fff]", text.en)


def test_above_needs_more_than_the_noise():
    assert spread.above(np.array([2.0, 2.1, 2.2]), np.array([1.0, 1.1, 1.2]))
    assert not spread.above(np.array([1.1, 0.2, 2.0]), np.array([1.0, 1.1, 0.9]))


def test_a_spread_holds_only_values_that_there_are():
    assert spread.percent([0.9, 0.44, 1.0]) == "78.0 (44.0 … 100.0) %"
    assert spread.percent([0.941, 0.941]) == "94.1 %"
    assert spread.spread([1.0, None, float("nan")], digits=2) == "1.00, 2 NaN"
    assert spread.spread([None]) == "NaN"


def test_a_digit_lies_where_its_place_says():
    images = np.ones((5, 8, 8, 1), np.float32)
    placed = data.on_canvas({"image": images, "label": np.arange(5)}, 16, seed=0)
    assert placed["image"].sum((1, 2, 3)).tolist() == [64] * 5
    for picture, (top, left) in zip(placed["image"], placed["place"], strict=True):
        assert picture[top : top + 8, left : left + 8].sum() == 64
