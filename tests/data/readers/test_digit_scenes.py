"""digit_scenes: pictures, masks, instances and boxes that agree with each other."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cnn_jax.data.readers import digit_scenes
from cnn_jax.data.readers.digits import SPLIT_SEED, TEST_SHARE, stratified
from cnn_jax.data.readers.tfds import open_builder, open_records


def digits():
    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) / 16).astype(np.float32), labels


def scenes(count, size=64):
    images, labels = digits()
    return [
        digit_scenes.draw_scene(np.random.Generator(np.random.Philox(i)), images, labels, size)
        for i in range(count)
    ]


def test_masks_instances_boxes_and_labels_agree():
    for scene in scenes(60):
        assert 1 <= len(scene.labels) <= 3
        assert set(np.unique(scene.instances)) == set(range(len(scene.labels) + 1))
        for i, (box, label) in enumerate(zip(scene.boxes, scene.labels, strict=True), start=1):
            own = scene.instances == i
            assert set(scene.mask[own]) == {label + 1}
            rows, columns = np.nonzero(own)
            edges = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_array_equal(box * 64, edges)
        np.testing.assert_array_equal(scene.mask == 0, scene.instances == 0)


def test_all_digits_occur_and_some_overlap():
    some = scenes(60)
    assert set(np.concatenate([s.labels for s in some])) == set(range(10))
    touching = [
        np.any((s.instances[:, 1:] > 0) & (s.instances[:, :-1] > 0)
               & (s.instances[:, 1:] != s.instances[:, :-1]))
        for s in some
    ]  # fmt: skip
    assert np.mean(touching) > 0.2


def test_a_digit_stands_out_from_what_is_around_it():
    """The mask is where the picture changes: its pixels have the digit's one colour."""
    inside, outside = [], []
    for scene in scenes(30):
        for i in range(1, len(scene.labels) + 1):
            pixels = scene.image[scene.instances == i].astype(float)
            inside.append(np.median(np.abs(pixels - np.median(pixels, 0)), 0).max())
            outside.append(np.abs(np.median(pixels, 0) - scene.image[scene.mask == 0]).mean())
    assert np.median(inside) < 10 < 40 < np.median(outside)


def test_the_same_seed_draws_the_same_scene():
    for first, second in zip(scenes(3, size=96), scenes(3, size=96), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_digit_is_in_both_splits():
    seen = {}

    class Recorder:
        def _generate_examples(self, split, images, labels):
            seen[split] = {image.tobytes() for image in images}

    digit_scenes.DigitScenes._split_generators(Recorder(), None)
    images, labels = digits()
    assert len(seen["test"]) == pytest.approx(TEST_SHARE * len(images), abs=5)
    assert stratified(labels, TEST_SHARE, SPLIT_SEED).sum() == len(seen["test"])
    assert not seen["train"] & seen["test"]


def test_prepared_without_tensorflow_and_read_by_name(tmp_path, default_data_dir, monkeypatch):
    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 5, "test": 3})
    builder = open_builder("digit_scenes", data_dir=str(tmp_path))
    assert builder.data_path.parts[-3:] == ("digit_scenes", "64", "2.1.0")
    names = tuple(builder.info.features["mask"].names)
    assert names == digit_scenes.CLASS_NAMES
    records = open_records(builder, "train+test", {"image": "image", "mask": "mask"})
    assert len(records) == 8
    for record in records.__getitems__(range(8)):
        assert Image.open(io.BytesIO(record["image"])).size == (64, 64)
        mask = np.asarray(Image.open(io.BytesIO(record["mask"])))
        assert (mask.dtype, mask.shape) == (np.uint8, (64, 64))
        assert 0 < mask.max() <= 10
    example = builder.as_data_source("test")[0]
    assert len(example["objects"]["bbox"]) == len(example["objects"]["label"]) > 0
    assert example["objects"]["bbox"][0].shape == (4,)
