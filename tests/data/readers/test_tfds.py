"""TFDS by name: what is found, and one line for whatever is not."""

import importlib.util
import json
import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cnn_jax.data import (
    DataError,
    eval_batches,
    image_loader,
    load_source,
    statistics,
    train_batches,
)
from cnn_jax.data.pixel_statistics import STATISTICS
from tests.data.pictures import encode


class Tiny(tfds.core.GeneratorBasedBuilder):
    """Twelve pictures in two splits, in two configurations; a builder as a user would write it."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=n) for n in ("plain", "other")]  # noqa: RUF012

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "picture": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                    "filename": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(9), "test": self._generate_examples(3)}

    def _generate_examples(self, n):
        import io

        for i in range(n):
            pixels = np.full((5 + i, 4, 3), i, np.uint8)
            picture = io.BytesIO(encode(pixels))
            yield i, {"picture": picture, "label": i % 2, "filename": f"{i}.png"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    load_source("tiny", "train", data_dir=str(root))  # prepares it: the builder is registered
    return root


def load(name, split, root, **options):
    return load_source(name, split, data_dir=str(root), **options)


def test_a_builder_of_ones_own_is_prepared_without_tensorflow(prepared):
    assert (prepared / "tiny" / "plain" / "1.2.0" / "features.json").exists()


def test_names_versions_configurations_and_splits(prepared):
    for name in ("tiny", "tiny:1.2.0", "tiny:1.*.*", "tiny/plain", "tiny/plain:1.2.0"):
        assert len(load(name, "train", prepared)) == 9
    assert len(load("tiny", "train[:50%]+test", prepared)) == 4 + 3
    source = load("tiny", "test", prepared)
    assert (source.name, source.class_names) == ("tiny", ("even", "odd"))
    assert source.image_shape == (None, None, 3)
    (batch,) = eval_batches(source, image_loader(source, 4), batch_size=3)
    assert sorted(batch["image"][:, 0, 0, 0].tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(batch["label"], batch["image"][:, 0, 0, 0] % 2)


def test_reading_agrees_with_the_reader_of_tfds(prepared):
    source = load("tiny", "train", prepared)
    reference = tfds.builder_from_directory(prepared / "tiny/plain/1.2.0").as_data_source("train")
    for i, expected in enumerate(reference):
        got = eval_batches(source, image_loader(source, (5, 4)), batch_size=9)[0]
        assert got["label"][i] == expected["label"]
        assert got["image"][i, 0, 0, 0] == expected["picture"][0, 0, 0]
        assert source.describe(i).endswith(f"({expected['filename'].decode()})")


def test_errors_are_one_line_each(prepared, default_data_dir):
    for name, split, message in [
        ("tiny", "val", "tiny/plain/1.2.0 has no split 'val': it has 'train', 'test'"),
        ("tiny", "train[:", "is not a split of tiny/plain/1.2.0"),
        ("tiny", "train[:120%]", "cannot open tiny/plain/1.2.0, split"),
        ("tinny", "train", r"unknown data set 'tinny'.* nearest names are tiny"),
        ("cifar", "train", r"unknown data set 'cifar'.* nearest names are cifar10, cifar100"),
        ("a b", "train", "does not name a data set"),
        ("tiny:9.0.0", "train", "could not be prepared"),
        ("tiny/third", "train", "could not be prepared"),
    ]:
        with pytest.raises(DataError, match=message) as error:
            load(name, split, prepared)
        assert "\n" not in str(error.value)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="has TensorFlow")
def test_what_needs_tensorflow_says_so(tmp_path, default_data_dir):
    with pytest.raises(DataError, match=r"mnist is not in .* pip install 'cnn-jax\[prepare\]'"):
        load("mnist", "train", tmp_path)
    assert not list(tmp_path.rglob("*.incomplete*"))


def test_a_dataset_in_tfrecords_says_how_to_prepare_it(prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    info = tmp_path / "tiny/plain/1.2.0/dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": "tfrecord"}))
    with pytest.raises(DataError, match="`tfds build tiny` with file_format=array_record"):
        load("tiny", "train", tmp_path)


def test_a_copy_that_is_not_whole_says_so(prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (file,) = (tmp_path / "tiny").rglob("*train.array_record*")
    file.unlink()
    with pytest.raises(DataError, match=r"is incomplete, .*train.array_record.* is missing"):
        load("tiny", "train", tmp_path)
    assert len(load("tiny", "test", tmp_path)) == 3


def test_a_truncated_file_is_an_error_of_ours(prepared, tmp_path):
    shutil.copytree(prepared / "tiny", tmp_path / "tiny")
    (file,) = (tmp_path / "tiny").rglob("*train.array_record*")
    file.write_bytes(file.read_bytes()[:-1000])

    def read():
        source = load("tiny", "train", tmp_path)
        return eval_batches(source, image_loader(source, 4), batch_size=9)

    with pytest.raises(DataError, match="tiny"):
        read()


def test_several_configurations_have_to_be_told_apart(prepared, tmp_path):
    shutil.copytree(prepared / "tiny" / "plain", tmp_path / "found" / "plain")
    shutil.copytree(prepared / "tiny" / "plain", tmp_path / "found" / "other")
    with pytest.raises(DataError, match="several configurations: say found/other or found/plain"):
        load("found", "train", tmp_path)


def test_a_set_without_labels_is_refused(tmp_path):
    class Unlabelled(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "score": tfds.features.Scalar(np.int64)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            import io

            yield 0, {"image": io.BytesIO(encode(np.zeros((2, 2, 3), np.uint8))), "score": 1}

    with pytest.raises(DataError, match=r"wanted a feature 'label' of type ClassLabel; it has"):
        load("unlabelled", "train", tmp_path)


def test_the_statistics_are_those_of_the_training_pixels(tmp_path, default_data_dir):
    source = load_source("digits", "train", data_dir=str(tmp_path))
    pixels = np.concatenate([b["image"] for b in eval_batches(source, batch_size=1438)]) / 255
    mean, std = statistics("digits", 1)
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), atol=5e-5)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), atol=5e-5)


def test_statistics_of_other_sets():
    assert statistics("cifar10", 3) == STATISTICS["cifar10"]
    assert statistics("flowers", 3) == STATISTICS["imagenet2012"]
    assert statistics("cifar10", 1) == ((0.5,), (0.25,))
    assert all(len(s.mean) == len(s.std) for s in STATISTICS.values())


def test_streaming_from_files_in_another_process(prepared):
    source = load("tiny", "train", prepared)
    random = image_loader(source, 4, "random_resized")
    batches = train_batches(source, random, batch_size=6, seed=0)
    again = pickle.loads(pickle.dumps(batches))
    np.testing.assert_array_equal(batches[3]["image"], again[3]["image"])
