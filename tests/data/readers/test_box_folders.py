"""`coco:PATH` and `voc:PATH`, on sets of a few pictures that are made here."""

import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, box_loader, open_source, survey_boxes
from cnn_jax.data.readers.voc import VOC_CLASSES


def save(file, size):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 20, 30)).save(file)


def coco_content():
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 9, "file_name": "empty.png", "width": 20, "height": 40},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 18, "bbox": [10, 5, 30, 20], "iscrowd": 0},
            {"image_id": 7, "category_id": 3, "bbox": [50, 0, 50, 50], "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
    }


def make_coco(root, content=None, split="train2017"):
    content = coco_content() if content is None else content
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    save(root / split / "a.jpg", (100, 50))
    save(root / split / "empty.png", (20, 40))
    return root


def test_coco(tmp_path):
    make_coco(tmp_path)
    source = open_source(f"coco:{tmp_path}", "train", holds="boxes")  # of train2017
    assert source.class_names == ("car", "dog")  # in the order of the ids
    assert len(source) == 2
    record = source[0]
    assert record["image"] == tmp_path / "train2017" / "a.jpg"
    np.testing.assert_allclose(record["boxes"], [[0.1, 0.1, 0.4, 0.5], [0.5, 0, 1, 1]])
    assert record["labels"].tolist() == [1, 0]
    assert record["crowd"].tolist() == [False, True]
    assert source[1]["boxes"].shape == (0, 4)
    assert "a.jpg" in source.describe(0)
    held = survey_boxes(source)
    assert (held.images, held.boxes, held.most, held.empty) == (2, 2, 2, 1)


def test_coco_slices_and_other_folders_of_pictures(tmp_path):
    make_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "images")
    make_coco(tmp_path, split="val2017")
    assert len(open_source(f"coco:{tmp_path}", "train[:1]+val2017", holds="boxes")) == 3


def test_broken_coco_boxes_are_counted_and_left_out(tmp_path):
    content = coco_content()
    for category, bbox in [
        (18, [90, 10, 30, 10]),  # hangs over the border: cut
        (18, [10, 10, 0, 10]),  # no area
        (18, [10, 10, -5, 10]),  # inverted
        (18, [200, 10, 5, 5]),  # outside
        (18, [float("nan"), 10, 5, 5]),
        (99, [10, 10, 5, 5]),  # no such category
    ]:
        content["annotations"].append({"image_id": 7, "category_id": category, "bbox": bbox})
    content["annotations"].append({"image_id": 1000, "category_id": 3, "bbox": [0, 0, 1, 1]})
    source = open_source(f"coco:{make_coco(tmp_path, content)}", "train", holds="boxes")
    held = survey_boxes(source)
    assert held.boxes == 3
    assert held.left_out == {
        "cut": 1,
        "without area": 1,
        "inverted": 1,
        "outside the image": 1,
        "not finite": 1,
        "of an unknown class": 1,
    }
    assert "1 inverted" in str(held)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda c: c.pop("categories"), r"instances_train2017\.json is not in COCO's format: no"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "a bbox of 3 numbers"),
        (lambda c: c["annotations"][0].update(bbox="wide"), "is not in COCO's format"),
        (lambda c: c["images"][0].update(file_name="none.jpg"), r"none\.jpg of split 'train2017'"),
        (lambda c: c["images"][1].update(width=0), r"gives empty\.png 0x40 pixels"),
        (lambda c: c["categories"].clear(), "names no categories"),
    ],
)
def test_coco_errors_name_the_file(tmp_path, break_it, message):
    content = coco_content()
    break_it(content)
    make_coco(tmp_path, content)
    with pytest.raises(DataError, match=message):
        open_source(f"coco:{tmp_path}", "train", holds="boxes")


def test_coco_without_what_it_needs(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        open_source("coco:/no/such/folder", "train", holds="boxes")
    with pytest.raises(DataError, match="found no JSON"):
        open_source(f"coco:{tmp_path}", "train", holds="boxes")
    make_coco(tmp_path)
    with pytest.raises(DataError, match="no split 'val': it has 'train2017'"):
        open_source(f"coco:{tmp_path}", "val", holds="boxes")
    (tmp_path / "annotations" / "instances_train2017.json").write_text('{"images": [')
    with pytest.raises(DataError, match="not in COCO's format"):
        open_source(f"coco:{tmp_path}", "train", holds="boxes")


OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
SIZE = "<size><width>100</width><height>50</height><depth>3</depth></size>"


def make_voc(root, objects=(("dog", 0, 11, 6, 40, 25), ("cat", 1, 1, 1, 100, 50)), size=SIZE):
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for stem, own in (("001", objects), ("002", ()), ("003", objects[:1])):
        save(root / "JPEGImages" / f"{stem}.jpg", (100, 50))
        text = "".join(OBJECT.format(*one) for one in own)
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{text}</annotation>")
    return root


def lists(root, **splits):
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, text in splits.items():
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)


@pytest.mark.parametrize("size", [SIZE, "", "<size><width>0</width><height>0</height></size>"])
def test_voc(tmp_path, size):
    make_voc(tmp_path, size=size)
    lists(tmp_path, train="001\n002\n", val="003\n", dog_train="001  1\n002 -1\n")
    source = open_source(f"voc:{tmp_path}", "train", holds="boxes")
    assert source.class_names == VOC_CLASSES
    record = source[0]
    # pixels counted from 1, the last included
    np.testing.assert_allclose(record["boxes"], [[0.1, 0.1, 0.4, 0.5], [0, 0, 1, 1]])
    assert [VOC_CLASSES[i] for i in record["labels"]] == ["dog", "cat"]
    assert record["crowd"].tolist() == [False, True]
    assert source[1]["boxes"].shape == (0, 4)
    assert len(open_source(f"voc:{tmp_path}", "train+val", holds="boxes")) == 3
    with pytest.raises(DataError, match="no split 'dog_train': it has 'train', 'val'"):
        open_source(f"voc:{tmp_path}", "dog_train", holds="boxes")


def test_voc_classes(tmp_path):
    make_voc(tmp_path, [("zebra", 0, 1, 1, 5, 5), ("ant", 0, 1, 1, 9, 9)])
    assert open_source(f"voc:{tmp_path}", "all", holds="boxes").class_names == ("ant", "zebra")
    (tmp_path / "classes.txt").write_text("zebra\n")
    source = open_source(f"voc:{tmp_path}", "all", holds="boxes")
    assert source.class_names == ("zebra",)
    assert survey_boxes(source).left_out == {"of an unknown class": 1}
    (tmp_path / "classes.txt").write_text("zebra\nzebra\n")
    with pytest.raises(DataError, match="each once"):
        open_source(f"voc:{tmp_path}", "all", holds="boxes")


def test_voc_without_lists_is_divided_the_same_way_every_time(tmp_path):
    make_voc(tmp_path)
    for i in range(10):
        save(tmp_path / "JPEGImages" / f"x{i}.jpg", (100, 50))
        (tmp_path / "Annotations" / f"x{i}.xml").write_text(f"<annotation>{SIZE}</annotation>")
    train, test = (
        open_source(f"voc:{tmp_path}", split, holds="boxes") for split in ("train", "test")
    )
    names = [{record["image"].stem for record in part} for part in (train, test)]
    assert len(names[1]) == 3  # a fifth of 13
    assert len(names[0] | names[1]) == 13


def test_voc_errors_name_the_file(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        open_source("voc:/no/such/folder", "train", holds="boxes")
    with pytest.raises(DataError, match="wanted the folders JPEGImages and Annotations"):
        open_source(f"voc:{tmp_path}", "train", holds="boxes")
    make_voc(tmp_path)
    file = tmp_path / "Annotations" / "001.xml"
    good = file.read_text()
    for text, message in [
        (good.replace("<ymax>25</ymax>", ""), r"001\.xml is not in VOC's format: .*bndbox/ymax"),
        (good.replace("25", "far"), r"001\.xml is not in VOC's format"),
        (good[:50], r"001\.xml cannot be read as XML"),
    ]:
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            open_source(f"voc:{tmp_path}", "all", holds="boxes")
    file.unlink()
    with pytest.raises(DataError, match=r"001\.jpg has no annotations: wanted .*001\.xml"):
        open_source(f"voc:{tmp_path}", "all", holds="boxes")
    file.write_text(good)
    lists(tmp_path, train="001\n404\n")
    with pytest.raises(DataError, match=r"train\.txt lists 404"):
        open_source(f"voc:{tmp_path}", "train", holds="boxes")


def test_both_load(tmp_path):
    for dataset in (f"coco:{make_coco(tmp_path / 'c')}", f"voc:{make_voc(tmp_path / 'v')}"):
        source = open_source(
            dataset, "train" if dataset.startswith("coco") else "all[:3]", holds="boxes"
        )
        load = box_loader(source, (50, 100), capacity=2)
        for record in source:
            loaded = load(record, None)
            assert loaded["image"].shape == (50, 100, 3)
            kept = loaded["labels"] >= 0
            expected = record["boxes"] * [100, 50, 100, 50]
            if kept.any():
                np.testing.assert_allclose(loaded["boxes"][kept], expected, atol=1e-4)
