"""The built-in digits, and preparing them: twice at once, and killed half-way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_jax.data import DataError, eval_batches, load_source
from cnn_jax.data.readers.digits import stratified

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("digits"))


def everything(split, data_dir):
    source = load_source("digits", split, data_dir=data_dir)
    (batch,) = eval_batches(source, batch_size=len(source))
    return batch["image"], batch["label"]


def test_train_and_test_are_the_set_of_scikit_learn(data_dir):
    """Nothing is lost or doubled, and every picture keeps its label."""
    train, test = everything("train", data_dir), everything("test", data_dir)
    assert (len(train[0]), len(test[0])) == (1438, 359)
    images = np.concatenate([train[0], test[0]]).reshape(1797, 64)
    labels = np.concatenate([train[1], test[1]])
    expected, expected_labels = load_digits(return_X_y=True)
    expected = np.floor(expected * 255 / 16 + 0.5)  # 0..16 -> 0..255

    def rows(pixels, labels):
        return sorted(map(tuple, np.column_stack([pixels, labels]).astype(int)))

    assert rows(images, labels) == rows(expected, expected_labels)


def test_the_division_is_stratified(data_dir):
    counts = np.bincount(everything("test", data_dir)[1])
    assert counts.tolist() == [round(0.2 * n) for n in np.bincount(load_digits().target)]


def test_the_division_never_changes():
    """The first test digits of version 1.0.0, as NumPy 2.4 drew them."""
    chosen = stratified(load_digits().target, 0.2, seed=0)
    assert np.flatnonzero(chosen)[:10].tolist() == [2, 9, 10, 13, 15, 17, 19, 23, 24, 29]


PREPARE = """
import sys
from cnn_jax.data import load_source
print(len(load_source("digits", "train", data_dir=sys.argv[1])))
"""


def prepare(data_dir, **options):
    environment = {**os.environ, "TFDS_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PREPARE, str(data_dir)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_preparing_twice_at_once_and_quietly(tmp_path):
    both = [prepare(tmp_path) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "1438\n", "")
    assert [p.name for p in (tmp_path / "digits").iterdir() if p.name != ".lock"] == ["1.0.0"]


@pytest.mark.slow
def test_a_preparation_that_was_killed_is_done_again(tmp_path):
    """SIGKILL as soon as the directory of the unfinished one is there, and a little later."""
    for delay in (0, 0.02, 0.1):
        process = prepare(tmp_path)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("digits/incomplete.*")) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = prepare(tmp_path)
    assert process.communicate(timeout=120) == ("1438\n", "")
    assert not list(tmp_path.glob("digits/incomplete.*"))


def test_what_a_killed_preparation_left_is_removed(tmp_path, default_data_dir):
    left = tmp_path / "digits" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    (left / "digits-train.array_record").write_bytes(b"half")
    assert len(load_source("digits", "train", data_dir=str(tmp_path))) == 1438
    assert not left.exists()


def test_a_read_only_directory_is_left_alone(tmp_path, default_data_dir):
    """The next place is taken; the user's own may be shared and read-only, even for root."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o555)
    assert len(load_source("digits", "train", data_dir=str(shared))) == 1438
    assert not list(shared.iterdir())
    assert (default_data_dir / "digits" / "1.0.0").is_dir()


def test_nowhere_to_write(tmp_path, default_data_dir, monkeypatch):
    """The small sets that are made here find a place all the same, unless one was asked for."""
    default_data_dir.mkdir()
    default_data_dir.chmod(0o555)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for _ in range(2):
        assert len(load_source("digits", "train")) == 1438
    assert not list(default_data_dir.iterdir())
    (own,) = temporary.glob("cnn_jax-*")
    assert own.stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o555)
    with pytest.raises(DataError, match=r"cannot be written: pass another, data_dir=DIR"):
        load_source("digits", "train", data_dir=str(shared))
