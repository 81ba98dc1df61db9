"""Sequences from the UCR and UEA archives' files and from TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cnn_jax.data import DataError, eval_batches, load_source
from cnn_jax.data.readers.ucr import read_ts

TRAIN = """# a comment
@problemName Small
@timeStamps false
@missing false
@univariate false
@equalLength false
@classLabel true walking running
@data
1,2,3:10,20,30:walking
4,5:40,50:running
7,8,9:70,80,90:walking
"""
TEST = TRAIN.split("@data")[0] + "@data\n3,2,1,0:1,1,1,1:running\n"


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "Small").mkdir()
    (tmp_path / "Small" / "Small_TRAIN.ts").write_text(TRAIN)
    (tmp_path / "Small" / "Small_TEST.ts").write_text(TEST)
    return tmp_path


def test_series_labels_padding_and_standardisation(archive):
    source = load_source("ucr:Small", "train", data_dir=str(archive))
    assert source.class_names == ("running", "walking")
    assert source.image_shape == (4, 2)  # the longest of both splits, two channels
    (batch,) = eval_batches(source, batch_size=3)
    assert batch["label"].tolist() == [1, 0, 1]
    first = np.array([1, 2, 3, 4, 5, 7, 8, 9.0])  # all training values of the first channel
    expected = (np.array([4, 5, 0, 0]) - first.mean()) / first.std()
    np.testing.assert_allclose(batch["image"][1, :, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(batch["image"][..., 0], batch["image"][..., 1], atol=1e-4)
    assert len(load_source("ucr:Small", "train[:2]+test", data_dir=str(archive))) == 3


def test_what_is_not_there(archive):
    with pytest.raises(DataError, match=r"there are .*Small"):
        load_source("ucr:Large", "train", data_dir=str(archive))
    with pytest.raises(DataError, match=r"no split 'validation': it has 'train', 'test'"):
        load_source("ucr:Small", "validation", data_dir=str(archive))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TRAIN.replace("4,5:40,50", "4,?:40,50"), "line 10.*Missing values"),
        (TRAIN.replace("@classLabel true walking running", "@targetLabel true"), "not for class"),
        (TRAIN.replace("@timeStamps false", "@timeStamps true"), "has time stamps"),
        (TRAIN.split("@data")[0] + "@data\n", "has no series"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "file.ts"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_ts(path)


@pytest.mark.parametrize("name", ["ItalyPowerDemand", "BasicMotions"])
def test_as_aeon_reads_it(name):
    datasets = pytest.importorskip("aeon.datasets")
    values, labels = datasets.load_classification(name, split="TRAIN")  # [N, C, L]
    source = load_source(f"ucr:{name}", "train")
    (batch,) = eval_batches(source, batch_size=len(source))
    expected = values.transpose(0, 2, 1)
    mean, deviation = expected.mean((0, 1)), expected.std((0, 1))
    np.testing.assert_allclose(batch["image"], (expected - mean) / deviation, atol=1e-4)
    ours = [source.class_names[i].lower() for i in batch["label"]]
    assert ours == [str(label).lower() for label in labels]


class Motions(tfds.core.GeneratorBasedBuilder):
    """Two sensors: one number a step and two numbers a step; a builder as a user would write it."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "speed": tfds.features.Sequence(np.float32, length=5),
                    "place": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
                    "subject": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["up", "down"]),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            place = np.arange(10, dtype=np.float32).reshape(5, 2) + i
            yield (
                i,
                {
                    "speed": [float(i * step) for step in range(5)],
                    "place": place,
                    "subject": "someone",
                    "label": i % 2,
                },
            )


def test_tfds_features_of_one_length_are_the_channels(tmp_path):
    source = load_source("motions", "train", data_dir=str(tmp_path))
    assert source.image_shape == (5, 3)
    assert source.class_names == ("up", "down")
    (batch,) = eval_batches(source, batch_size=6)
    assert batch["image"].dtype == np.float32
    np.testing.assert_allclose(batch["image"].mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(batch["image"].std((0, 1)), 1, atol=1e-5)
    speeds = np.array([[i * step for step in range(5)] for i in range(6)], np.float64)
    order = [int(np.flatnonzero(np.isclose(
        (speeds - speeds.mean()) / speeds.std(), row, atol=1e-4).all(1))[0])
        for row in batch["image"][..., 2]]  # fmt: skip
    assert sorted(order) == list(range(6))
    assert batch["label"].tolist() == [i % 2 for i in order]
    test = load_source("motions", "test", data_dir=str(tmp_path))
    (batch,) = eval_batches(test, batch_size=2)  # by the training split's mean, not its own
    assert abs(batch["image"][..., 2].mean()) > 0.5
