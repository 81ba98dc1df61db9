"""COCO and VOC as people have them: ids that collide, rows without a box, names with spaces."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn_jax import run
from cnn_jax.data import DataError, open_source, survey_boxes

THING = {"id": 1, "name": "thing"}


def images(folder, n=4, suffix=".png", name="{}"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new("RGB", (200, 100), (i, 2, 3)).save(folder / f"{name.format(i)}{suffix}")


def rows(n=4, **more):
    return [{"id": i, "image_id": i, "category_id": 1, "bbox": [20, 10, 60, 30], **more}
            for i in range(n)]  # fmt: skip


def listed(n=4, name="{}.png"):
    return [{"id": i, "file_name": name.format(i), "width": 200, "height": 100} for i in range(n)]


def coco(root, split="train", **content):
    """A set of four images, each with a box (0.1, 0.1, 0.4, 0.4), and what differs."""
    images(root / split)
    file = root / "annotations" / f"instances_{split}.json"
    file.parent.mkdir(exist_ok=True)
    whole = {"images": listed(), "annotations": rows(), "categories": [THING], **content}
    file.write_text(json.dumps(whole))
    return file


def read(root, split="train", kind="coco"):
    return open_source(f"{kind}:{root}", split, holds="boxes")


def check(source, boxes=(1, 1, 1, 1)):
    """So many boxes in each image, all where they are."""
    by_name = sorted(map(source.__getitem__, range(len(source))), key=lambda r: r["image"].name)
    assert [len(record["boxes"]) for record in by_name] == list(boxes)
    for record in by_name:
        for box in record["boxes"]:
            np.testing.assert_allclose(box, [0.1, 0.1, 0.4, 0.4])
        assert record["image"].is_file()


def said(caplog, text):
    return any(text in message for message in caplog.messages)


def test_two_images_of_one_id(tmp_path):
    coco(tmp_path, images=[one | {"id": 1} for one in listed(2)], annotations=rows(1))
    with pytest.raises(DataError, match=r"two images have the id 1: 0\.png and 1\.png"):
        read(tmp_path)
    coco(tmp_path, images=[*listed(2), listed(3)[2] | {"id": "1"}])
    with pytest.raises(DataError, match=r"two images have the id '1': 1\.png and 2\.png"):
        read(tmp_path)


def test_two_entries_of_one_image(tmp_path):
    coco(tmp_path, images=[*listed(3), listed(1)[0] | {"id": 3}])
    with pytest.raises(DataError, match=r"the file_name '0\.png', with the ids 0 and 3"):
        read(tmp_path)
    coco(tmp_path, images=[*listed(3), {**listed(1)[0], "id": 3, "file_name": "./0.png"}])
    with pytest.raises(DataError, match=r"'0\.png' and '\./0\.png' are one image"):
        read(tmp_path)


@pytest.mark.parametrize("key", ["id", "image_id", "category_id"])
def test_ids_that_are_texts_in_one_place(tmp_path, key):
    """The boxes of '1' were those of no image."""
    content = {"images": listed(), "annotations": rows()}
    for one in content["images" if key == "id" else "annotations"][::2]:
        one[key] = str(one[key])
    coco(tmp_path, **content)
    check(read(tmp_path))
    assert survey_boxes(read(tmp_path)).boxes == 4


def test_categories_of_one_name(tmp_path):
    coco(tmp_path, categories=[THING, {"id": 2, "name": "thing"}])
    with pytest.raises(DataError, match="the name 'thing', with the ids 1 and 2: rename one"):
        read(tmp_path)
    # Roboflow's own entry for the set
    root = {"id": 0, "name": "thing", "supercategory": "none"}
    coco(tmp_path, categories=[root, THING | {"supercategory": "thing"}])
    assert read(tmp_path).class_names == ("thing",)
    check(read(tmp_path))


def test_a_key_that_is_there_twice(tmp_path):
    """Python takes the last, and the images of the first were lost."""
    file = coco(tmp_path)
    text = file.read_text()
    file.write_text(text.replace('"categories"', '"images": [], "categories"'))
    with pytest.raises(DataError, match="the key 'images' is in one object twice"):
        read(tmp_path)


def test_annotations_that_are_there_twice(tmp_path, caplog):
    coco(tmp_path, annotations=[*rows(), *rows(1)])
    check(read(tmp_path), (2, 1, 1, 1))
    assert said(caplog, "1 annotations repeat another of their image")


@pytest.mark.parametrize("bbox", [[], None, "missing"])
def test_an_annotation_without_a_box(tmp_path, bbox, caplog):
    some = rows()
    some[2]["bbox"] = bbox
    if bbox == "missing":
        del some[2]["bbox"]
    coco(tmp_path, annotations=some)
    check(read(tmp_path), (1, 1, 0, 1))
    assert said(caplog, "left out 1 annotations that have neither a bbox nor a polygon")
    some[2]["segmentation"] = [[20, 10, 80, 10, 80, 30], [30, 30, 40, 40, 50, 20]]
    coco(tmp_path, annotations=some)
    check(read(tmp_path))
    assert said(caplog, "1 annotations have no bbox, and got the one around their polygons")


def test_iscrowd_as_a_text(tmp_path):
    coco(tmp_path, annotations=rows(iscrowd="0"))
    assert survey_boxes(read(tmp_path)).crowds == 0
    coco(tmp_path, annotations=rows(iscrowd="1"))
    held = survey_boxes(read(tmp_path))
    assert (held.boxes, held.crowds) == (4, 4)
    assert "4 of them are crowds" in str(held)


def test_a_set_of_crowds_alone_is_refused_before_training(tmp_path):
    """It trained on nothing, and ended in a KeyError after it."""
    for split in ("train", "test"):
        coco(tmp_path, split, annotations=rows(iscrowd=1))
    recipe = run.DetectionRecipe(
        dataset=f"coco:{tmp_path}", image_size="32x64", steps=1, workdir=str(tmp_path / "run")
    )
    with pytest.raises(ValueError, match="there is nothing to learn"):
        run.train(recipe, program=run.Program(quiet=True))
    assert not (tmp_path / "run").exists()


def test_classes_without_a_box_are_said(tmp_path, caplog):
    coco(tmp_path, categories=[THING, {"id": 2, "name": "rare"}])
    assert survey_boxes(read(tmp_path)).per_class.tolist() == [4, 0]
    assert said(caplog, "1 of 2 classes have no box, and cannot be learnt or tested here: rare")


def test_splits_whose_categories_differ(tmp_path):
    coco(tmp_path)
    coco(tmp_path, "val", categories=[{"id": 1, "name": "other"}])
    with pytest.raises(DataError, match="differ in their categories"):
        read(tmp_path, "train+val")


def test_categories_that_differ_in_case_are_said(tmp_path, caplog):
    coco(tmp_path, categories=[THING, {"id": 2, "name": "Thing"}])
    read(tmp_path)
    assert said(caplog, "'thing' and 'Thing' are two classes; if not, merge them")


def test_boxes_as_fractions_are_said(tmp_path, caplog):
    coco(tmp_path, annotations=rows(bbox=[0.1, 0.1, 0.3, 0.3]))
    read(tmp_path)
    assert said(caplog, "4 of 4 boxes are smaller than a pixel")
    assert said(caplog, "these seem to be fractions; multiply them")


def test_backslashes_in_names(tmp_path):
    coco(tmp_path, images=listed(name="train\\{}.png"))
    check(read(tmp_path))


@pytest.mark.parametrize("validation", ["val", "valid"])
def test_roboflows_export(tmp_path, validation):
    for split in ("train", validation):
        coco(tmp_path, split).rename(tmp_path / split / "_annotations.coco.json")
    shutil.rmtree(tmp_path / "annotations")
    check(read(tmp_path))
    check(read(tmp_path, "val"))


def test_hidden_annotations_do_not_exist(tmp_path):
    file = coco(tmp_path)
    file.with_name("._instances_train.json").write_bytes(b"\0\5\26\7")
    (tmp_path / "train" / "._0.png").write_bytes(b"\0\5\26\7")
    check(read(tmp_path))
    file.rename(file.with_name("train.json"))
    check(read(tmp_path))


def voc(root, name="{}", suffix=".jpg", lines=None):
    images(root / "JPEGImages", suffix=suffix, name=name)
    (root / "Annotations").mkdir(exist_ok=True)
    for i in range(4):
        (root / "Annotations" / f"{name.format(i)}.xml").write_text(
            "<annotation><size><width>200</width><height>100</height></size><object><name>cat"
            "</name><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>80</xmax><ymax>40</ymax></bndbox>"
            "</object></annotation>"
        )
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [name.format(i) for i in range(4)] if lines is None else lines
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.parametrize("name", ["my cat {}", "{} 1", "a  b{}", "img.{}"])
def test_voc_names_of_any_kind(tmp_path, name):
    folder = voc(tmp_path, name)
    (folder / "cat_train.txt").write_text("".join(f"{name.format(i)}  -1\n" for i in range(4)))
    check(read(tmp_path, kind="voc"))
    with pytest.raises(DataError, match="no split 'cat_train': it has 'train'"):
        read(tmp_path, "cat_train", kind="voc")


def test_voc_lists_with_suffixes(tmp_path):
    voc(tmp_path, lines=[f"{i}.jpg" for i in range(4)])
    check(read(tmp_path, kind="voc"))


def test_voc_lists_that_name_an_image_twice_or_none(tmp_path):
    voc(tmp_path, lines=["0", "1", "0"])
    with pytest.raises(DataError, match=r"train\.txt lists 0 twice"):
        read(tmp_path, kind="voc")
    voc(tmp_path, lines=["0", "7", "8", "9", "10"])
    with pytest.raises(DataError, match=r"train\.txt lists 7, 8, 9 and 1 more, which"):
        read(tmp_path, kind="voc")


JUNK = b"\0\5\26\7\0\2\0\0Mac OS X        " + b"\xb0\xff\xfe" + bytes(50)


@pytest.mark.parametrize(
    "place", ["JPEGImages/._0.jpg", "ImageSets/Main/._train.txt", "Annotations/._0.xml"]
)
def test_voc_hidden_files_do_not_exist(tmp_path, place):
    voc(tmp_path)
    (tmp_path / place).write_bytes(JUNK)
    check(read(tmp_path, kind="voc"))


def test_yolo_hidden_folders_do_not_exist(tmp_path):
    images(tmp_path / "images")
    images(tmp_path / "images" / ".ipynb_checkpoints", n=1)
    images(tmp_path / "images" / "__MACOSX", n=1)
    (tmp_path / "labels").mkdir()
    for i in range(4):
        (tmp_path / "labels" / f"{i}.txt").write_text("0 0.25 0.25 0.3 0.3\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    check(read(tmp_path, "all", kind="yolo"))
