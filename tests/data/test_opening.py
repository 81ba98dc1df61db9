"""One opener for every data set, and readers that users add."""

import pkgutil
import subprocess
import sys

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data import DataError, open_source, opening, register_reader
from tests.data.pictures import ListRecords

EVERY = [(holds, kind) for holds, readers in data.READERS.items() for kind in readers]


@pytest.mark.parametrize(("holds", "kind"), EVERY)
def test_every_opener_is_there(holds, kind):
    assert callable(pkgutil.resolve_name(data.READERS[holds][kind]))
    assert data.READERS[holds].origin(kind).startswith("cnn_jax.data.readers.")


def test_opening_one_kind_imports_no_other():
    code = (
        "import sys; from cnn_jax.data import load_source; load_source('mnist1d', 'train');"
        "print([m for m in ('tensorflow_datasets', 'jax', 'absl', 'cnn_jax.data.readers.folder') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("holds", "dataset", "said"),
    [
        ("label", "folder:/nowhere", "there is no folder /nowhere; write folder:PATH"),
        ("label", "folder", "write folder:PATH"),
        ("mask", "masks:/nowhere", "there is no folder /nowhere; write masks:PATH"),
        ("boxes", "coco:/nowhere", "there is no folder /nowhere; write coco:PATH"),
        ("boxes", "voc:/nowhere", "there is no folder /nowhere; write voc:PATH"),
        ("label", "mnist1d:40", "the set is called mnist1d"),
        ("label", "coco:/nowhere", "coco:/nowhere holds images with boxes; wanted .* a label"),
        ("boxes", "masks:/nowhere", "masks:/nowhere holds images with a mask; wanted .* boxes"),
        ("mask", "coco:/nowhere", "holds images with boxes; wanted images with a mask"),
    ],
)
def test_what_is_not_there_is_refused_by_what_opens_it(holds, dataset, said):
    with pytest.raises(DataError, match=said):
        open_source(dataset, "train", holds=holds)


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"split 'train\[:0%\]' of mnist1d is empty"):
        open_source("mnist1d", "train[:0%]")


def test_what_examples_hold_is_one_of_three():
    with pytest.raises(ValueError, match="hold a label, mask or boxes, not 'keypoints'"):
        open_source("mnist1d", "train", holds="keypoints")


@pytest.fixture
def kinds(monkeypatch):
    """Readers that are registered in a test are gone after it."""
    for readers in data.READERS.values():
        for part in ("_values", "_origins"):
            monkeypatch.setattr(readers, part, dict(getattr(readers, part)))


def stripes(path: str, split: str, *, width: int = 4) -> data.Source:
    """A user's reader: `stripes:COUNT`, images of pixels with the label 0 or 1."""
    images = np.zeros((int(path or 6), 4, width, 3), np.uint8)
    images[1::2, :, ::2] = 255
    records = [{"image": image, "label": i % 2} for i, image in enumerate(images)]
    return data.Source("stripes", split, ListRecords(records), ("flat", "striped"), (4, width, 3))


def test_a_users_reader_is_reached_by_its_kind(kinds):
    register_reader("stripes", "label", stripes)
    source = open_source("stripes:10", "train")
    batch = data.train_batches(source, batch_size=10, seed=0)[0]
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], 255 * batch["label"])
    assert len(open_source("stripes", "train")) == 6
    assert data.READERS["label"].origin("stripes") == __name__
    loaded = data.image_loader(source, 8, "random_resized")(source[1], np.random.default_rng(0))
    assert loaded["image"].shape == (8, 8, 3)
    with pytest.raises(DataError, match=r"split 'train' of stripes:0 is empty"):
        open_source("stripes:0", "train")
    with pytest.raises(ValueError, match=f"registered twice: by {__name__}"):
        register_reader("stripes", "label", stripes)


def test_an_option_reaches_the_readers_that_have_it(kinds):
    register_reader("stripes", "label", stripes)
    assert open_source("stripes", "train", width=7).image_shape == (4, 7, 3)
    assert open_source("stripes", "train", data_dir="/nowhere", width=None)
    with pytest.raises(DataError, match=r"width=7: mnist1d is not read with width; leave it out"):
        open_source("mnist1d", "train", width=7)
    with pytest.raises(DataError, match=r"class_names=a,b: mnist1d is not read with class_names"):
        open_source("mnist1d", "train", class_names=["a", "b"])


def test_pixels_of_a_record_are_brought_to_the_channels_asked_for(kinds):
    register_reader("stripes", "label", stripes)
    source = open_source("stripes", "train", channels=1)
    assert data.eval_batches(source, batch_size=6)[0]["image"].shape == (6, 4, 4, 1)
    source.records.records[2]["image"] = np.zeros((4, 4, 3), np.float32)
    wrong = open_source("stripes", "train")
    wrong.records.records[2]["image"] = np.zeros((4, 4, 3), np.float32)
    with pytest.raises(DataError, match=r"record 2 .*pixels float32 \[4, 4, 3\]: wanted uint8"):
        data.eval_batches(wrong, batch_size=6)


def test_a_record_without_what_its_loader_wants_is_named(kinds):
    register_reader("stripes", "mask", stripes)
    source = open_source("stripes", "train", holds="mask", skip_corrupt=True)
    with pytest.raises(DataError, match=r"record 0 .*has no 'mask', .*: it has 'image', 'label'"):
        data.eval_batches(source, data.mask_loader(source), batch_size=2)


def test_a_kind_is_one_word(kinds):
    for kind in ("", "a:b", "a b"):
        with pytest.raises(ValueError, match="must be one word"):
            opening.register_reader(kind, "label", stripes)


def masks(path: str, split: str) -> data.Source:
    """A user's reader of masks: class 1 on the left half."""
    image, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    image[:, :3], mask[:, :3] = 255, 1
    records = ListRecords([{"image": image, "mask": mask}] * 3)
    return data.Source("halves", split, records, ("right", "left"), (4, 6, 3))


def boxes(path: str, split: str) -> data.Source:
    """A user's reader of boxes: one around the left half."""
    image = np.zeros((4, 6, 3), np.uint8)
    one = {"boxes": np.array([[0, 0, 0.5, 1]]), "labels": np.array([0]), "crowd": np.array([False])}
    records = ListRecords([{"image": image, **one}] * 3)
    return data.Source("halves", split, records, ("half",), (4, 6, 3))


def test_a_kind_may_hold_masks_and_boxes(kinds):
    register_reader("halves", "mask", masks)
    register_reader("halves", "boxes", boxes)
    source = open_source("halves", "train", holds="mask")
    batch = data.eval_batches(source, data.mask_loader(source, (8, 12)), batch_size=3)[0]
    np.testing.assert_array_equal(
        batch["label"], np.repeat([[[1] * 6 + [0] * 6]], 8, 1).repeat(3, 0)
    )
    source = open_source("halves", "train", holds="boxes")
    assert data.survey_boxes(source).boxes == 3
    batch = data.eval_batches(source, data.box_loader(source, capacity=2), batch_size=3)[0]
    np.testing.assert_array_equal(batch["boxes"][0], [[0, 0, 3, 4], [0, 0, 0, 0]])
