"""`yolo:PATH`, on sets of a few images that are made here."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, eval_batches, fingerprint, open_source
from cnn_jax.data.loaders.boxes import box_loader

LABELS = {  # left, top, right and bottom of them are in WANTED
    "a": "1 0.5 0.5 0.2 0.4\n0 0.1 0.25 0.2 0.5\n",
    "b": "",
    "c": "0 0.1 0.2 0.9 0.3 0.5 0.8\n",  # a polygon
}
WANTED = {
    "a": ([[0.4, 0.3, 0.6, 0.7], [0, 0, 0.2, 0.5]], [1, 0]),
    "b": (np.zeros((0, 4)), []),
    "c": ([[0.1, 0.2, 0.9, 0.8]], [0]),
    "none": (np.zeros((0, 4)), []),
}


def image(file, size=(20, 10)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 20, 30)).save(file)


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def fill(images, labels):
    """The images of WANTED, of which one has no label file."""
    for stem in WANTED:
        image(images / f"{stem}.png")
        if stem in LABELS:
            write(labels / f"{stem}.txt", LABELS[stem])


def opened(place, split="train"):
    return open_source(f"yolo:{place}", split, holds="boxes")


def check(source):
    records = {record["image"].stem: record for record in source.__getitems__(range(len(source)))}
    assert records.keys() == WANTED.keys()
    for stem, (boxes, labels) in WANTED.items():
        np.testing.assert_allclose(records[stem]["boxes"], boxes, atol=1e-12)
        assert records[stem]["labels"].tolist() == labels
        assert not records[stem]["crowd"].any()
    assert source.class_names == ("cat", "dog")


def ultralytics(root):
    fill(root / "images" / "train", root / "labels" / "train")
    image(root / "images" / "val" / "deep" / "v.png")
    write(root / "labels" / "val" / "deep" / "v.txt", "0 0.5 0.5 1 1")
    write(root / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")


def numbered_names_and_a_folder_of_another_machine(root):
    ultralytics(root)
    write(
        root / "data.yaml",
        "path: ~no_such_user/x\ntrain:\n  - images/train\nvalid: images\\val\ntest:\nnc: 2\n"
        "names:\n  0: cat\n  1: dog\n",
    )


def roboflow(root):
    fill(root / "train" / "images", root / "train" / "labels")
    image(root / "valid" / "images" / "v.png")
    write(root / "valid" / "labels" / "v.txt", "0 0.5 0.5 1 1")
    write(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
        "names: ['cat', 'dog']\n",
    )


def lists(root):
    ultralytics(root)
    write(root / "train.txt", "".join(f"./images/train/{stem}.png\n\n" for stem in WANTED))
    write(root / "some.yaml", "train: train.txt\nval: images/val\nnames: [cat, dog]")
    (root / "data.yaml").unlink()


def plain(root):
    ultralytics(root)
    (root / "data.yaml").unlink()
    write(root / "classes.txt", "cat\ndog\n")


def plain_by_split(root):
    roboflow(root)
    (root / "data.yaml").unlink()
    write(root / "classes.txt", "cat\ndog\n")


LAYOUTS = (
    ultralytics, numbered_names_and_a_folder_of_another_machine, roboflow, lists, plain,
    plain_by_split,
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, tmp_path):
    layout(tmp_path)
    check(opened(tmp_path))
    for name in ("val", "valid"):
        (record,) = opened(tmp_path, name).__getitems__([0])
        assert record["boxes"].tolist() == [[0, 0, 1, 1]]
    assert len(opened(tmp_path, "train[:50%]+val")) == 3
    with pytest.raises(DataError, match=r"no split 'test'|and there is no"):
        opened(tmp_path, "test")


def test_the_file_itself_and_what_is_said(tmp_path, caplog):
    ultralytics(tmp_path)
    write(tmp_path / "labels" / "train" / "a.txt", LABELS["a"] + LABELS["a"])
    with caplog.at_level(logging.WARNING):
        check(opened(tmp_path / "data.yaml"))
    assert "1 images have no label file, and so no objects" in caplog.text
    assert "1 polygons became the boxes around them" in caplog.text
    assert "left out 2 lines that repeat another" in caplog.text


def test_without_splits(tmp_path):
    for i in range(10):
        image(tmp_path / "images" / f"{i}.png")
        write(tmp_path / "labels" / f"{i}.txt", "0 0.5 0.5 0.1 0.1")
    write(tmp_path / "labels" / "classes.txt", "cat")  # as labelImg does
    assert [len(opened(tmp_path, s)) for s in ("all", "train", "test")] == [10, 8, 2]


def test_boxes_are_of_upright_images(tmp_path):
    """A photograph that is stored on its side: boxes are drawn on what is shown."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "images" / "a.jpg", exif=exif)
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.25 1 0.5")
    write(tmp_path / "classes.txt", "cat")
    source = opened(tmp_path, "all")
    (batch,) = eval_batches(source, box_loader(source, (20, 10), capacity=1), batch_size=1)
    assert batch["extent"].tolist() == [[20, 10]]
    np.testing.assert_allclose(batch["boxes"], [[[0, 0, 10, 10]]])


def test_names_that_yaml_takes_for_something_else(tmp_path):
    ultralytics(tmp_path)
    write(tmp_path / "data.yaml", "train: images/train\nnames: [no, 012]\nnc: 2")
    assert opened(tmp_path).class_names == ("no", "012")
    write(tmp_path / "data.yaml", "train: images/train\nnc: 2\nval: null\ntest:")
    assert opened(tmp_path).class_names == ("class 0", "class 1")


def test_key_points_after_a_box(tmp_path):
    ultralytics(tmp_path)
    with (tmp_path / "data.yaml").open("a") as file:
        file.write("kpt_shape: [1, 3]\n")
    for stem in ("a", "c"):
        write(tmp_path / "labels" / "train" / f"{stem}.txt", "1 0.5 0.5 0.2 0.4 0.9 0.9 2\n")
    boxes = np.concatenate([r["boxes"] for r in opened(tmp_path).__getitems__(range(4))])
    np.testing.assert_allclose(boxes, [[0.4, 0.3, 0.6, 0.7]] * 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "4 numbers, wanted 5"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 numbers, wanted 5.*confidence"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 numbers"),
        ("0 100 50 20 10", r"100 is not in 0\.\.1.* divide pixels"),
        ("0 0.5 -0.5 0.2 0.2", r"-0\.5 is not in"),
        ("0 0.5 nan 0.2 0.2", "nan is not in"),
        ("0 0.5 x 0.2 0.2", "'x' is no number"),
        ("2 0.5 0.5 0.2 0.2", "the class is 2, and there are 2, from 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "the class is -1"),
        ("cat 0.5 0.5 0.2 0.2", "the class is 'cat', wanted its number"),
        ("0.5 0.5 0.5 0.2 0.2", "the class is '0.5'"),
        ("inf 0.5 0.5 0.2 0.2", "the class is 'inf'"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path, line, message):
    ultralytics(tmp_path)
    write(tmp_path / "labels" / "train" / "a.txt", f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    with pytest.raises(DataError, match=rf"labels/train/a\.txt:3: .*{message}"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [cat", "is not YAML"),
        ("- cat", "wanted 'train: FOLDER'"),
        ("names: [cat, dog]", "names no split"),
        ("train: images/train", r"wanted 'names: \[cat, dog\]'"),
        ("train: images/train\nnames: [cat, dog]\nnc: 3", "nc is 3 and there are 2 names"),
        ("train: images/train\nnames: [cat, cat]", "two classes have the name 'cat'"),
        ("train: images/train\nnames: {0: cat, 2: dog}", "are numbered 0, 2: wanted 0, 1, 2"),
        ("train: images/none\nnames: [cat, dog]", "names 'images/none', and there is no"),
        ("train: {a: b}\nnames: [cat, dog]", "wanted a folder or several"),
        ("train: labels\nnames: [cat, dog]", "labels holds no images"),
        ("val: images/val\nvalid: images/val\nnames: [cat]", "are both 'val'"),
        ("path: [a]\ntrain: images/train\nnames: [cat]", "wanted a folder"),
        ("train: !!python/object/apply:os.system ['true']\nnames: [cat]", "names 'true'"),
        ("train: images/train\nnames: {0: cat, 0: dog}", "'0' is there twice"),
        ("train: images/train\nnames: [cat, '']", "each with its number"),
        ("train: images/train\nnames: {0: cat, 01: dog}", "are numbered 0, 01"),
        ("train: &a [*a]\nnames: [cat]", "is not YAML"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, text, message):
    ultralytics(tmp_path)
    write(tmp_path / "data.yaml", text)
    with pytest.raises(DataError, match=message) as raised:
        opened(tmp_path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_folders_that_cannot_be_right(tmp_path, caplog):
    with pytest.raises(DataError, match="there is no"):
        opened(tmp_path / "none")
    with pytest.raises(DataError, match=r"wanted the names of the classes|wanted data\.yaml"):
        opened(tmp_path)
    ultralytics(tmp_path)
    image(tmp_path / "images" / "train" / "a.bmp")
    with pytest.raises(DataError, match="would have the same labels"):
        opened(tmp_path)
    (tmp_path / "images" / "train" / "a.bmp").unlink()
    write(tmp_path / "data.yaml", "train: images/train\nval: images/train\nnames: [cat, dog]\n")
    with caplog.at_level(logging.WARNING):
        opened(tmp_path, "train+val")
    assert "4 images are in 'train' and in 'val'" in caplog.text
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(DataError, match=r"none of 4 images has a label file: wanted .*\.txt"):
        opened(tmp_path)


def test_the_fingerprint_tells_changes_but_not_the_place(tmp_path):
    roboflow(tmp_path / "here")
    before = fingerprint.fingerprint(opened(tmp_path / "here"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert fingerprint.fingerprint(opened(tmp_path / "there")) == before
    write(tmp_path / "there" / "train" / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4\n")
    assert fingerprint.fingerprint(opened(tmp_path / "there")) != before
