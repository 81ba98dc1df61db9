"""Labels that are none, and classes that are one alone, are said before the first step."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, Source, load_source, register_reader
from cnn_jax.data.opening import READERS
from tests.data.pictures import ListRecords, encode


def csv(root, rows):
    """rows: (label, split)."""
    lines = ["file,label,split"]
    for i, (label, split) in enumerate(rows):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{label},{split}")
    (root / "labels.csv").write_text("\n".join(lines))
    return f"csv:{root / 'labels.csv'}"


def npz(root, rows):
    arrays = {}
    for split in ("train", "test"):
        labels = np.array([label for label, part in rows if part == split], np.int64)
        arrays[f"{split}_images"] = np.zeros((len(labels), 4, 4, 3), np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(root / "set.npz", **arrays)
    return f"npz:{root / 'set.npz'}"


TRAINED = [(i % 2, "train") for i in range(8)]


@pytest.mark.parametrize("some", [4, 1])
def test_a_test_split_of_the_label_minus_one(tmp_path, some):
    """It was a class of its own, of which no image was trained on: accuracy 0."""
    tested = [(-1 if i < some else 1, "test") for i in range(4)]
    dataset = csv(tmp_path, TRAINED + tested)
    source = load_source(dataset, "train")
    assert source.class_names == ("0", "1")
    assert sorted(source[i]["label"] for i in range(8)) == [0] * 4 + [1] * 4
    what = "all of 4" if some == 4 else "1 of 4"
    with pytest.raises(DataError, match=rf"'test': {what} images have the label -1, which is none"):
        load_source(dataset, "test")


def test_minus_one_may_be_a_class(tmp_path):
    rows = [(2 * (i % 2) - 1, "train" if i < 8 else "test") for i in range(12)]
    dataset = csv(tmp_path, rows)
    assert load_source(dataset, "train").class_names == ("-1", "1")
    assert len(load_source(dataset, "test")) == 4


@pytest.mark.parametrize("make", [csv, npz])
def test_one_class_alone(tmp_path, make, caplog):
    rows = [(0, "train")] * 4 + [(1, "test")] * 4
    dataset = make(tmp_path, rows)
    with pytest.raises(DataError, match="all 4 images are of the class 0, and there is nothing to"):
        load_source(dataset, "train")
    load_source(dataset, "train[:2]")  # a small part is for trying things out
    load_source(dataset, "test")
    assert sum("an accuracy on one class" in message for message in caplog.messages) == 2


@pytest.mark.parametrize(("labels", "what"), [([-1] * 9, "all of 9"), ([0, 1, 2] * 3, "3 of 9")])
def test_labels_that_only_the_records_know(labels, what):
    """As in sets of TFDS, and of a user's own reader."""
    pixels = encode(np.zeros((2, 2, 3), np.uint8))
    records = ListRecords([{"image": pixels, "label": label} for label in labels])

    def opened(path, split):
        return Source("own", split, records, ("a", "b"), (2, 2, 3))

    register_reader("own-labels", "label", opened)
    try:
        with pytest.raises(DataError, match=rf"{what} images have the label -?\d.*: picture \d, "):
            load_source("own-labels:", "test")
    finally:
        READERS["label"].forget("own-labels")
