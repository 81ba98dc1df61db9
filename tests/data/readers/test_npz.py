"""`npz:PATH`, on files of a few images that are made here."""

import logging
import pickle

import numpy as np
import pytest

from cnn_jax.data import DataError, eval_batches, fingerprint, load_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 5), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])


def save(root, **arrays):
    np.savez(root / "set.npz", **arrays)
    return f"npz:{root}/set.npz"


def pixels(source):
    return np.stack([record["image"] for record in source.__getitems__(range(len(source)))])


def labels(source):
    return [record["label"] for record in source.__getitems__(range(len(source)))]


def test_names_of_medmnist(tmp_path):
    dataset = save(
        tmp_path,
        train_images=IMAGES, train_labels=LABELS[:, None].astype(np.uint8),
        val_images=IMAGES[:2], val_labels=LABELS[:2, None],
        test_images=IMAGES[2:4], test_labels=LABELS[2:4, None],
    )  # fmt: skip
    source = load_source(dataset, "train")
    assert (source.name, source.class_names) == ("set", ("0", "1", "2"))
    assert source.image_shape == (4, 5, 1)
    np.testing.assert_array_equal(pixels(source)[..., 0], IMAGES)
    assert labels(source) == LABELS.tolist()
    assert labels(load_source(dataset, "validation")) == [2, 0]
    assert labels(load_source(dataset, "test+train[-1:]")) == [1, 1, 2]
    (batch,) = eval_batches(load_source(dataset, "val"), batch_size=2)
    np.testing.assert_array_equal(batch["image"][..., 0], IMAGES[:2])
    with pytest.raises(DataError, match="has no split 'all': it has 'train', 'val', 'test'"):
        load_source(dataset, "all")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_names_of_keras_in_colour_and_exact_numbers_of_other_types(tmp_path, dtype):
    colour = RNG.integers(0, 256, (6, 4, 5, 3)).astype(dtype)
    dataset = save(
        tmp_path, x_train=colour, y_train=LABELS[:, None], x_test=colour[:2], y_test=LABELS[:2]
    )
    source = load_source(dataset, "train")
    assert source.image_shape == (4, 5, 3)
    assert pixels(source).dtype == np.uint8
    np.testing.assert_array_equal(pixels(source), colour)
    assert labels(load_source(dataset, "test")) == [2, 0]
    assert load_source(dataset, "test", channels=1).image_shape == (4, 5, 1)


@pytest.mark.parametrize("shape", [(6, 7, 4, 5), (6, 7, 4, 5, 1), (6, 7, 4, 5, 3)])
def test_volumes(tmp_path, shape):
    volumes = RNG.integers(0, 256, shape, np.uint8)
    source = load_source(save(tmp_path, train_images=volumes, train_labels=LABELS), "train")
    wanted = volumes if volumes.ndim == 5 else volumes[..., None]
    assert source.image_shape == wanted.shape[1:]
    (batch,) = eval_batches(source, batch_size=6)
    np.testing.assert_array_equal(batch["image"], wanted)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].tolist() == LABELS.tolist()


def test_labels_with_gaps_are_classes_by_their_values(tmp_path):
    source = load_source(save(tmp_path, x_train=IMAGES, y_train=LABELS * 5 + 5), "train")
    assert source.class_names == ("5", "10", "15")
    assert labels(source) == LABELS.tolist()


def test_workers_get_no_arrays_and_read_the_same(tmp_path):
    big = RNG.integers(0, 256, (6, 200, 200), np.uint8)
    source = load_source(save(tmp_path, x_train=big, y_train=LABELS), "train")
    sent = pickle.dumps(source.records)
    assert len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent).__getitems__([3])[0]["image"][..., 0], big[3])


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, LABELS, r"train_images is float64 in 0\.\.1: .* \* 255"),
        (IMAGES / 127.5 - 1, LABELS, r"is float64 from -1"),
        (IMAGES + 0.5, LABELS, "or whole numbers in 0..255"),
        (np.where(IMAGES > 5, np.nan, IMAGES), LABELS, "from nan to nan"),
        (IMAGES.astype(np.uint16) * 257, LABELS, "is uint16 from .*; scale the values"),
        (IMAGES.astype(np.int8), LABELS, "is int8 from -"),
        (IMAGES > 100, LABELS, "is bool"),
        (IMAGES[0], LABELS, r"has the shape \[4, 5\]: wanted images \[N, H, W\]"),
        (np.zeros((6, 3, 8, 9), np.uint8), LABELS, r"channels seem.*transpose\(0, 2, 3, 1\)"),
        (np.zeros((6, 1, 7, 8, 9), np.uint8), LABELS, r"transpose\(0, 2, 3, 4, 1\)"),
        (np.zeros((6, 7, 8, 9, 2), np.uint8), LABELS, "has 2 channels"),
        (IMAGES, LABELS[:5], "has 6 images and train_labels 5 labels"),
        (IMAGES, np.eye(3, dtype=int)[LABELS], r"\[6, 3\]: wanted one label.*argmax"),
        (IMAGES, LABELS.astype(float), "train_labels is float64: wanted integers"),
        (IMAGES, np.array(list("abcabc")), "wanted integers; .*np.unique"),
        (IMAGES, LABELS - 1, "holds -1: wanted labels from 0"),
        (IMAGES, LABELS * 0, "every label is 0"),
        (IMAGES, np.array(list("abcabc"), object), "cannot be read: .*Python objects"),
        (IMAGES.astype(object), LABELS, "cannot be read: .*Python objects"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path, images, labels, message):
    with pytest.raises(DataError, match=message) as raised:
        load_source(save(tmp_path, train_images=images, train_labels=labels), "train")
    assert "\n" not in str(raised.value)
    assert "set.npz" in str(raised.value)


def test_names_of_arrays(tmp_path, caplog):
    with pytest.raises(DataError, match="there is x_train and no y_train"):
        load_source(save(tmp_path, x_train=IMAGES), "train")
    with pytest.raises(DataError, match=r"wanted train_images.* found data, target"):
        load_source(save(tmp_path, data=IMAGES, target=LABELS), "train")
    both = {"x_train": IMAGES, "y_train": LABELS, "train_images": IMAGES, "train_labels": LABELS}
    with pytest.raises(DataError, match="are both 'train'"):
        load_source(save(tmp_path, **both), "train")
    with caplog.at_level(logging.WARNING):
        load_source(save(tmp_path, x_train=IMAGES // 16, y_train=LABELS), "train")
    assert "the brightest value of x_train is 15, and 255 is white" in caplog.text


def test_files_that_are_no_archive(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        load_source(f"npz:{tmp_path}/none.npz", "train")
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(DataError, match="is one array"):
        load_source(f"npz:{tmp_path}/one.npy", "train")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(DataError, match=r"text\.npz cannot be read"):
        load_source(f"npz:{tmp_path}/text.npz", "train")
    save(tmp_path, x_train=IMAGES, y_train=LABELS)
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[200] ^= 255  # within x_train
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.npz cannot be read"):
        load_source(f"npz:{tmp_path}/set.npz", "train")
    (tmp_path / "set.npz").write_bytes(content[:300])
    with pytest.raises(DataError, match=r"set\.npz cannot be read"):
        load_source(f"npz:{tmp_path}/set.npz", "train")


def test_the_fingerprint_is_of_what_the_arrays_hold(tmp_path):
    def of(images, answers, split="train"):
        dataset = save(tmp_path, x_train=images, y_train=answers, x_test=IMAGES, y_test=LABELS)
        return fingerprint.fingerprint(load_source(dataset, split))

    before = of(IMAGES, LABELS)
    assert of(IMAGES, LABELS) == before
    other = IMAGES.copy()
    other[3, 2, 2] ^= 1
    assert of(other, LABELS) != before
    assert of(IMAGES, LABELS[[1, 0, 2, 3, 4, 5]]) != before
    assert of(IMAGES, LABELS, "train[:50%]") != before
    assert of(other, LABELS, "test") == of(IMAGES, LABELS, "test")


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_of_no_class_in_any_split(tmp_path, split):
    """A test split without labels is refused with the set: one file, one set."""
    labels = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    dataset = save(tmp_path, **{**labels, f"y_{split}": np.full(6, -1)})
    with pytest.raises(DataError, match=rf"y_{split} holds -1: wanted labels from 0"):
        load_source(dataset, "train")
