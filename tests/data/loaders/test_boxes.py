"""Boxes on their way into a batch: what is broken is counted and left out, the rest is exact."""

import dataclasses

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data import DataError, open_source, survey_boxes
from cnn_jax.data.loaders import boxes
from cnn_jax.data.readers import digit_scenes
from tests.data.pictures import ListRecords, encode

K = 3


def record(rows, size=(40, 60), seed=0):
    """A picture of a size, and rows of (left, top, right, bottom, label, crowd) in pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    table = np.array(rows, float).reshape(-1, 6)
    return {
        "image": encode(pixels),
        "boxes": table[:, :4] / np.tile(size[::-1], 2),
        "labels": table[:, 4].astype(int),
        "crowd": table[:, 5] > 0,
    }


def source_of(records):
    return data.Source(
        name="boxes",
        split="train",
        records=ListRecords(records),
        class_names=tuple("abc"),
        image_shape=(None, None, 3),
    )


BROKEN = [
    ((np.nan, 0, 5, 5, 0, 0), "not finite"),
    ((0, 0, np.inf, 5, 0, 0), "not finite"),
    ((9, 2, 3, 8, 0, 0), "inverted"),
    ((5, 5, 5, 9, 0, 0), "without area"),
    ((70, 5, 80, 9, 0, 0), "outside the image"),
    ((-20, 5, -10, 9, 0, 0), "outside the image"),
    ((1, 1, 9, 9, 3, 0), "of an unknown class"),
    ((1, 1, 9, 9, -1, 0), "of an unknown class"),
]


@pytest.mark.parametrize(("row", "reason"), BROKEN)
def test_a_broken_box_is_left_out_and_counted(row, reason):
    one = record([(1, 2, 11, 12, 1, 0), row])
    tidied = boxes.tidy(one, K)
    assert tidied.left_out == {reason: 1}
    np.testing.assert_allclose(tidied.boxes * [60, 40, 60, 40], [[1, 2, 11, 12]])
    loaded = boxes.LoadBoxes(3, K, (40, 60), 4)(one, None)
    assert (loaded["labels"] >= 0).sum() == 1
    assert np.isfinite(loaded["boxes"]).all()


def test_a_box_over_the_border_is_cut_and_one_that_was_rounded_is_not_counted():
    tidied = boxes.tidy(record([(-10, 5, 10, 15, 0, 0), (50, 30, 60.2, 40, 1, 0)]), K)
    np.testing.assert_allclose(tidied.boxes * [60, 40, 60, 40], [[0, 5, 10, 15], [50, 30, 60, 40]])
    assert tidied.left_out == {"cut": 1}


def test_survey_counts_everything_once():
    rows = [row for row, _ in BROKEN]
    held = survey_boxes(
        source_of(
            [record(rows), record([(0, 0, 9, 9, 2, 0)] * 3), record([]), record([rows[2]])] * 100
        )
    )
    assert (held.images, held.boxes, held.most, held.empty) == (400, 300, 3, 300)
    assert sum(held.left_out.values()) == 900
    assert held.per_class.tolist() == [0, 0, 300]
    assert "left out: " in str(held)
    assert "200 inverted" in str(held)


def test_more_boxes_than_there_is_room_for_leaves_the_largest():
    rows = [(i, 0, 2 * i + 2, 10, i % K, 0) for i in range(9)]
    loaded = boxes.LoadBoxes(3, K, (40, 60), 4)(record(rows), None)
    np.testing.assert_allclose(loaded["boxes"][:, 0], [5, 6, 7, 8])
    assert loaded["labels"].tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("fit", "size", "factor", "extent"),
    [
        ("letterbox", (80, 80), (80 / 60, 53 / 40), (53, 80)),
        ("letterbox", (20, 60), (0.5, 0.5), (20, 30)),
        ("stretch", (80, 30), (0.5, 2), (80, 30)),
        ("letterbox", (40, 60), (1, 1), (40, 60)),
    ],
)
def test_boxes_follow_the_picture_into_the_frame(fit, size, factor, extent):
    loaded = boxes.LoadBoxes(3, K, size, 3, fit=fit)(record([(6, 8, 30, 20, 1, 1)]), None)
    assert loaded["image"].shape == (*size, 3)
    np.testing.assert_allclose(loaded["factor"], factor, rtol=1e-6)
    np.testing.assert_array_equal(loaded["extent"], extent)
    np.testing.assert_allclose(loaded["boxes"][0] / np.tile(factor, 2), [6, 8, 30, 20], rtol=1e-5)
    assert loaded["crowd"].tolist() == [1, 0, 0]
    assert loaded["labels"].tolist() == [1, -1, -1]
    beyond = loaded["image"][int(extent[0]) :]
    assert (beyond == boxes.LoadBoxes.fill).all()


def test_jitter_moves_picture_and_boxes_together():
    """A white object on black: what is white in the frame must be what the box is around."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[20:40, 30:70] = 255
    one = record([(30, 20, 70, 40, 1, 0)], size=(60, 90)) | {"image": encode(pixels)}
    load = boxes.LoadBoxes(3, K, (60, 90), 2, fill=(0, 0, 0), jitter=(0.5, 2.5))
    widths = []
    for seed in range(40):
        loaded = load(one, np.random.default_rng(seed))
        if loaded["labels"][0] < 0:
            continue
        white = loaded["image"][..., 0] > 127
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(loaded["boxes"][0], seen, atol=1.01)
        widths.append(seen[2] - seen[0])
        again = load(one, np.random.default_rng(seed))
        np.testing.assert_array_equal(loaded["image"], again["image"])
    assert len(widths) > 30
    assert min(widths) < 30
    assert max(widths) > 60


def test_batches_have_one_shape_and_padding_that_says_so():
    records = [record([(0, 0, 9, 9, i % K, 0)] * (i % 4), seed=i) for i in range(10)]
    source = source_of(records)
    load = boxes.box_loader(source, (32, 32), capacity=5)
    whole = data.eval_batches(source, batch_size=10, load=load, in_memory=True)[0]
    assert (whole["labels"] >= 0).sum(1).tolist() == [i % 4 for i in range(10)]
    for size in (3, 4):
        batches = list(data.eval_batches(source, batch_size=size, load=load, in_memory=True))
        for name in ("image", "boxes", "labels"):
            joined = np.concatenate([b[name][b["mask"] > 0] for b in batches])
            np.testing.assert_array_equal(joined, whole[name])


def test_settings_that_cannot_be():
    source = source_of([record([])])
    with pytest.raises(DataError, match="may differ in size: give one for all"):
        boxes.box_loader(source, None, capacity=1)
    with pytest.raises(DataError, match="choose one of letterbox, stretch"):
        boxes.box_loader(source, (8, 8), capacity=1, fit="crop")
    with pytest.raises(DataError, match="room for 0 boxes"):
        boxes.box_loader(source, (8, 8), capacity=0)
    corrupt = dataclasses.replace(
        source, records=ListRecords([record([]) | {"image": b"no picture"}])
    )
    load = boxes.box_loader(corrupt, (8, 8), capacity=1)
    with pytest.raises(DataError, match="record 0"):
        data.eval_batches(corrupt, batch_size=1, load=load, in_memory=False)[0]


def test_digit_scenes_have_boxes(default_data_dir, monkeypatch):
    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 2, "test": 20})
    source = open_source("digit_scenes", "test[:20]", holds="boxes")
    held = survey_boxes(source)
    assert held.images == 20
    assert not held.left_out
    with pytest.raises(DataError, match="not a detection set"):
        open_source("digits", "test", holds="boxes")
