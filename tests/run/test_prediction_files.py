"""Predictions as files: boxes that pycocotools reads again, masks, and files that are whole."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from cnn_jax import run
from cnn_jax.run import prediction_files as files

NAMES = ("cat", "dog")
FOUND = run.Found(
    np.array([[1, 2, 4, 8], [0, 0, 3, 3]], np.float32), np.array([0.9, 0.1], np.float32),
    np.array([1, 0]),
)  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    """A photograph that lies on its side, and one that does not."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "7.jpg", exif=turned)
    Image.new("RGB", (20, 10)).save(tmp_path / "9.png")
    return [str(tmp_path / name) for name in ("7.jpg", "9.png")]


def written(file, images, answers):
    with files.all_open([file]):
        for image, answer in zip(images, answers, strict=True):
            file.add(image, answer, NAMES)
    return file.path


def test_boxes_are_read_again_by_pycocotools(photos, tmp_path, capsys):
    whole = written(files.AsCoco(tmp_path / "whole.json", NAMES), photos, [FOUND, ValueError("x")])
    read = COCO(str(whole))
    assert [(e["file_name"], e["width"], e["height"]) for e in read.imgs.values()] == [
        (photos[0], 10, 20)
    ]  # as it stands upright
    first, second = read.loadAnns(read.getAnnIds(imgIds=[1]))
    assert first["bbox"] == [1, 2, 3, 6]
    assert (first["category_id"], second["category_id"]) == (2, 1)
    assert first["score"] == pytest.approx(0.9)
    assert first["area"] == 18
    truth = {
        "info": {},
        "images": [{"id": 70, "file_name": "7.jpg"}, {"id": 90, "file_name": "9.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    given = {"annotations": tmp_path / "truth.json", "images": photos}
    results = files.AsCoco(tmp_path / "results.json", NAMES, **given)
    place = written(results, photos, [FOUND, run.Found(*(x[:0] for x in FOUND))])
    ours = COCO(str(tmp_path / "truth.json")).loadRes(str(place))
    assert [(e["image_id"], e["category_id"]) for e in ours.anns.values()] == [(70, 5), (70, 6)]
    with pytest.raises(ValueError, match=r"other\.png is no image of the annotations"):
        files.AsCoco(tmp_path / "x.json", NAMES, **{**given, "images": ["other.png"]})
    with pytest.raises(ValueError, match="no category 'cow'"):
        files.AsCoco(tmp_path / "x.json", ("cow",), **given)
    assert not (tmp_path / "x.json.part").exists()


def test_masks_and_shares(tmp_path):
    label = np.array([[0, 1], [1, 1]], np.uint8)
    answer = run.Segmented(label, np.zeros((2, 2, 2)), NAMES)
    masks = files.AsMasks(tmp_path / "out", {"a/x.jpg": "x.jpg"})
    masks.add("a/x.jpg", answer, NAMES)
    with Image.open(tmp_path / "out" / "x.png") as image:
        np.testing.assert_array_equal(np.asarray(image), label)
        assert image.mode == "P"
    table = files.AsCsv(tmp_path / "a.csv", files.COLUMNS[run.Segmented])
    with written(table, ["a/x.jpg"], [answer]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], float(row["share"])) for row in rows] == [("dog", 0.75), ("cat", 0.25)]
    with pytest.raises(ValueError, match="this is none"):
        masks.add("a/x.jpg", FOUND, NAMES)


def test_what_is_there_is_whole(tmp_path):
    place = tmp_path / "a.jsonl"
    place.write_text("before")
    file = files.AsJson(place)
    with pytest.raises(KeyboardInterrupt), files.all_open([file]):  # noqa: PT012
        file.add("a", FOUND, NAMES)
        raise KeyboardInterrupt
    assert place.read_text() == "before"
    lines = written(files.AsJson(place), ["a", "\udcff"], [FOUND, OSError("gone")])
    first, second = map(json.loads, lines.read_text(errors="surrogateescape").splitlines())
    assert first["boxes"][0] == {
        "class": "dog", "label": 1, "score": 0.9, "left": 1.0, "top": 2.0, "right": 4.0,
        "bottom": 8.0,
    }  # fmt: skip
    assert second == {"image": "\udcff", "error": "gone"}
    empty = written(files.AsCsv(tmp_path / "b.csv", files.COLUMNS[run.Found]), [], [])
    assert empty.read_text() == "image,class,label,score,left,top,right,bottom\n"
    assert written(files.AsJson(tmp_path / "c.json"), [], []).read_text() == "[]\n"
