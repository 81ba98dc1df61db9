"""COCO, VOC and YOLO in the layouts that tools export: each gives the same boxes."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, open_source

BOX = [0.1, 0.1, 0.4, 0.4]  # of images of 200 x 100
YOLO = "0 0.25 0.25 0.3 0.3\n"


def image(file, seed=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100), (seed, 0, 0)).save(file)


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def coco(file, names, **size):
    rows = [{"id": i, "image_id": i, "category_id": 1, "bbox": [20, 10, 60, 30]}
            for i in range(len(names))]  # fmt: skip
    images = [{"id": i, "file_name": name, **size} for i, name in enumerate(names)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    write(file, json.dumps(content))


def xml(file, filename="", name="cat"):
    box = "<bndbox><xmin>21</xmin><ymin>11</ymin><xmax>80</xmax><ymax>40</ymax></bndbox>"
    write(
        file,
        f"<annotation><folder>C:/x</folder><filename>{filename}</filename><path>C:\\x\\y.jpg</path>"
        f"<size><width>200</width><height>100</height></size><object><name>{name}</name>{box}"
        "</object></annotation>",
    )


def check(dataset, split, count):
    source = open_source(dataset, split, holds="boxes")
    assert len(source) == count
    for i in range(count):
        np.testing.assert_allclose(source[i]["boxes"], [BOX])
        assert source.class_names[source[i]["labels"][0]] == "cat"
        assert source[i]["image"].is_file()
    return [source[i]["image"] for i in range(count)]


SIZE = {"width": 200, "height": 100}


def cvat(root):
    for name in ("a/1.png", "b/1.png", "2.png"):
        image(root / "images" / name)
    coco(root / "annotations/instances_default.json", ["a/1.png", "b/1.png", "2.png"], **SIZE)
    return 3


def cvat_with_a_subset(root):
    image(root / "images/default/x y/1.png")
    coco(root / "annotations/instances_default.json", ["x y/1.png"], **SIZE)
    return 1


def roboflow_without_splits(root):
    image(root / "1_png.rf.0a1b.jpg")
    coco(root / "_annotations.coco.json", ["1_png.rf.0a1b.jpg"], **SIZE)
    return 1


def label_studio(root):
    for i in range(2):
        image(root / f"images/{i}.png")
    coco(root / "result.json", ["images/0.png", "images\\1.png"], **SIZE)
    return 2


def fiftyone(root):
    image(root / "data/1.png")
    coco(root / "labels.json", ["1.png"], **SIZE)
    return 1


def without_sizes(root):
    image(root / "images/1.png")
    coco(root / "annotations.json", ["1.png"], width=None, height=None)
    return 1


@pytest.mark.parametrize(
    "layout",
    [cvat, cvat_with_a_subset, roboflow_without_splits, label_studio, fiftyone, without_sizes],
)
def test_coco_without_splits(tmp_path, layout):
    count = layout(tmp_path)
    found = check(f"coco:{tmp_path}", "all", count)
    assert len({*found}) == count
    (file,) = tmp_path.rglob("*.json")
    assert check(f"coco:{file}", "all", count) == found
    train, test = (
        open_source(f"coco:{tmp_path}", f"{split}+all[:1]", holds="boxes")
        for split in ("train", "test")
    )
    assert len(train) + len(test) == count + 2
    with pytest.raises(DataError, match=r"no split 'val': it has 'all', 'train', 'test'"):
        open_source(f"coco:{tmp_path}", "val", holds="boxes")


def test_coco_with_splits(tmp_path):
    for split in ("Train", "Validation"):
        image(tmp_path / "cvat/images" / split / "1.png")
        coco(tmp_path / f"cvat/annotations/instances_{split}.json", ["1.png"], **SIZE)
    for split in ("train", "valid"):
        image(tmp_path / "own" / split / "1.png")
        coco(tmp_path / f"own/annotations_{split}.json", ["1.png"], **SIZE)
        image(tmp_path / "each" / split / "images/1.png")
        coco(tmp_path / "each" / split / "annotations.json", ["1.png"], **SIZE)
    for root in ("cvat", "own", "each"):
        (train,) = check(f"coco:{tmp_path / root}", "train", 1)
        (val,) = check(f"coco:{tmp_path / root}", "val", 1)
        assert train.parts[-2:] != val.parts[-2:] or root == "each"
        assert "rain" in str(train.relative_to(tmp_path))
        assert "al" in str(val.relative_to(tmp_path))


def test_coco_hints_at_a_file_elsewhere(tmp_path):
    image(tmp_path / "pictures/deep/1.png")
    coco(tmp_path / "annotations/instances_train.json", ["1.png"], **SIZE)
    with pytest.raises(DataError, match=r"1\.png of .*there is .*pictures/deep/1\.png"):
        open_source(f"coco:{tmp_path}", "train", holds="boxes")


NAMES = ("a b", "img.v1", "图片", "#3", "007", "x  y")


def standard(root):
    for name in NAMES:
        image(root / f"JPEGImages/{name}.jpg")
        xml(root / f"Annotations/{name}.xml", filename=name)
    return len(NAMES)


def lower_case(root):
    for name in NAMES:
        image(root / f"images/{name}.JPEG")
        xml(root / f"annotations/xmls/{name}.xml", filename="other.png")
    return len(NAMES)


def labelimg(root):
    for name in NAMES:
        image(root / f"{name}.png")
        xml(root / f"{name}.xml", filename=f"../{name}.bmp")
    image(root / "not looked at.png")
    xml(root / "image is gone.xml")
    return len(NAMES)


def labelimg_in_folders(root):
    for folder in ("monday", "friday"):
        image(root / folder / "1.png")
        xml(root / folder / "1.xml")
    return 2


def with_suffixes(root):
    image(root / "JPEGImages/1.png")
    xml(root / "Annotations/1.png.xml")
    return 1


@pytest.mark.parametrize(
    "layout", [standard, lower_case, labelimg, labelimg_in_folders, with_suffixes]
)
def test_voc_without_splits(tmp_path, layout, caplog):
    count = layout(tmp_path)
    assert len({*check(f"voc:{tmp_path}", "all", count)}) == count
    parts = [len(open_source(f"voc:{tmp_path}", f"{s}+all[:1]", holds="boxes")) - 1
             for s in ("train", "test")]  # fmt: skip
    assert sum(parts) == count
    if layout is labelimg:
        assert "left out 1 images without an XML file: not looked at.png" in caplog.text
        assert "left out 1 XML files that have no image: image is gone.xml" in caplog.text


def test_voc_with_splits(tmp_path):
    for split in ("train", "valid"):  # Roboflow
        image(tmp_path / "r" / split / "1.jpg")
        xml(tmp_path / "r" / split / "1.xml")
        image(tmp_path / "f" / "images" / split / "1.jpg")
        xml(tmp_path / "f" / "annotations" / split / "1.xml")
    for name in ("clip 1/0", "clip 2/0"):  # CVAT
        image(tmp_path / "c/JPEGImages" / f"{name}.PNG")
        xml(tmp_path / "c/Annotations" / f"{name}.xml")
    write(tmp_path / "c/ImageSets/Main/train.txt", "clip 1/0\n")
    write(tmp_path / "c/ImageSets/Main/val.txt", "data\\clip 2\\0.PNG\n")
    write(tmp_path / "c/ImageSets/Main/cat_val.txt", "clip 2/0  1\n")
    for root in "rfc":
        (train,) = check(f"voc:{tmp_path / root}", "train", 1)
        (val,) = check(f"voc:{tmp_path / root}", "val", 1)
        assert train != val
    with pytest.raises(DataError, match="'cat_val': it has 'train', 'val'"):
        open_source(f"voc:{tmp_path / 'c'}", "cat_val", holds="boxes")


def test_voc_lists_of_a_split_with_memberships(tmp_path):
    standard(tmp_path)
    write(tmp_path / "ImageSets/Main/train.txt", "a b  1\n#3 -1\n")
    write(tmp_path / "ImageSets/Main/cat_train.txt", "a b  1\n#3 -1\n")
    check(f"voc:{tmp_path}", "train", 2)


def test_voc_with_one_list_that_is_no_split(tmp_path):
    """CVAT's `default.txt`."""
    standard(tmp_path)
    write(tmp_path / "ImageSets/Main/default.txt", "a b\n#3\n007\nimg.v1\nx  y\n")
    write(tmp_path / "ImageSets/Main/cat_default.txt", "a b  1\n#3  1\n")
    for split, count in (("default", 5), ("all", 5), ("train", 4), ("test", 1)):
        check(f"voc:{tmp_path}", split, count)


def test_voc_hints_at_the_folder_below(tmp_path):
    standard(tmp_path / "VOCdevkit/VOC2007")
    with pytest.raises(DataError, match=r"write voc:.*/VOCdevkit/VOC2007"):
        open_source(f"voc:{tmp_path}", "all", holds="boxes")
    (tmp_path / "x/JPEGImages").mkdir(parents=True)
    (tmp_path / "x/Annotations").mkdir()
    image(tmp_path / "x/JPEGImages/1.png")
    with pytest.raises(DataError, match=r"1\.png has no annotations: wanted .*/1\.xml"):
        open_source(f"voc:{tmp_path / 'x'}", "all", holds="boxes")


def cvat_yolo(root):
    """YOLO 1.1: the paths begin with a folder that is not there."""
    for i, split in enumerate(("train", "valid")):
        image(root / f"obj_{split}_data/sub/{i}.png")
        write(root / f"obj_{split}_data/sub/{i}.txt", YOLO)
        write(root / f"{split}.txt", f"data/obj_{split}_data/sub/{i}.png\n")
    write(root / "obj.names", "cat\ndog\n")
    write(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
        "names = data/obj.names\nbackup = backup/\n",
    )


def cvat_yolo_without_a_description(root):
    cvat_yolo(root)
    (root / "obj.data").unlink()


def cvat_ultralytics(root):
    for split in ("train", "val"):
        image(root / f"images/{split}/1.png")
        write(root / f"labels/{split}/1.txt", YOLO)
        write(root / f"{split}.txt", f"data/images/{split}/1.png\n")
    write(
        root / "data.yaml",
        "names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\nval: val.txt\n",
    )


def ultralytics(root):
    for split in ("train2017", "extra", "val2017"):
        image(root / f"coco/images/{split}/1.png")
        write(root / f"coco/labels/{split}/1.txt", YOLO)
    write(
        root / "coco.yaml",
        "path: ../datasets/coco\ntrain: [coco/images/train2017]\nval: coco/images/val2017\n"
        "names: names.txt\n",
    )
    write(root / "names.txt", "cat\ndog\n")


def colab(root):
    for split in ("train", "valid"):
        image(root / f"{split}/images/1.png")
        write(root / f"{split}/labels/1.txt", YOLO)
    write(
        root / "data.yaml",
        "train: /content/set-1/train/images\nval: /content/set-1/valid/images\n"
        "test: /content/set-1/test/images\nnc: 2\nnames: ['cat', 'dog']\n",
    )


def folders_of_years(root):
    for split in ("train2017", "val2017"):
        image(root / f"images/{split}/1.png")
        write(root / f"labels/{split}/1.txt", YOLO)
    write(root / "classes.txt", "cat\ndog\n")


def roboflow_darknet(root):
    for split in ("train", "valid"):
        image(root / split / "1.jpg")
        write(root / split / "1.txt", YOLO)
        write(root / split / "_darknet.labels", "cat\ndog\n")


@pytest.mark.parametrize(
    "layout",
    [cvat_yolo, cvat_yolo_without_a_description, cvat_ultralytics, ultralytics, colab,
     folders_of_years, roboflow_darknet],
)  # fmt: skip
@pytest.mark.parametrize("around", ["set", "images"])  # what is above the set does not matter
def test_yolo_with_splits(tmp_path, layout, around):
    layout(tmp_path / around)
    (train,) = check(f"yolo:{tmp_path / around}", "train", 1)
    (val,) = check(f"yolo:{tmp_path / around}", "val", 1)
    assert train.is_relative_to(tmp_path / around)
    assert train != val
    with pytest.raises(DataError, match=r"no split 'test'|and there is no .*set-1/test/images"):
        open_source(f"yolo:{tmp_path / around}", "test", holds="boxes")


def test_yolo_from_where_the_run_is_started(tmp_path, monkeypatch):
    ultralytics(tmp_path)
    text = (tmp_path / "coco.yaml").read_text().replace("../datasets/coco", "sets/a")
    write(tmp_path / "configs/coco.yaml", text.replace("coco/images", "images"))
    write(tmp_path / "configs/names.txt", "cat\n")
    write(tmp_path / "sets/x", "")
    (tmp_path / "coco").rename(tmp_path / "sets/a")
    monkeypatch.chdir(tmp_path)
    check("yolo:configs/coco.yaml", "train", 1)


def test_yolo_beside_the_images(tmp_path):
    for name in NAMES:
        image(tmp_path / f"{name}.png")
        write(tmp_path / f"{name}.txt", YOLO)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    check(f"yolo:{tmp_path}", "all", len(NAMES))


def test_yolo_does_not_take_another_folder_of_that_name(tmp_path):
    """`test/images` is not there, and `images` is."""
    image(tmp_path / "images/1.png")
    write(tmp_path / "labels/1.txt", YOLO)
    write(tmp_path / "data.yaml", "train: images\ntest: test/images\nval: /x/val/images\n"
          "names: [cat]\n")  # fmt: skip
    check(f"yolo:{tmp_path}", "train", 1)
    for split in ("test", "val"):
        with pytest.raises(DataError, match="and there is no"):
            open_source(f"yolo:{tmp_path}", split, holds="boxes")


def test_rotated_boxes_and_polygons_are_named(tmp_path, caplog):
    for i, line in enumerate(("0 .1 .1 .4 .1 .4 .4 .1 .4", "0 .1 .1 .4 .1 .2 .4\n")):
        image(tmp_path / f"images/{i}.png")
        write(tmp_path / f"labels/{i}.txt", line)
    write(tmp_path / "classes.txt", "cat")
    with caplog.at_level(logging.WARNING):
        check(f"yolo:{tmp_path}", "all", 2)
    assert "1 rotated boxes, of four corners each, became the upright ones around" in caplog.text
    assert "1 polygons became the boxes around them" in caplog.text
