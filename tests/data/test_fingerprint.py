"""What changes the fingerprint of a data set, and what does not: its place."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest

from cnn_jax.data import fingerprint, load_source, open_source
from tests.data.pictures import encode, make_source


def write(path, value=0, size=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.full((size, size, 3), value, np.uint8)))


def classes(root):
    for name in ("cat", "dog"):
        for i in range(10):
            write(root / name / f"{i}.png", i)
    return load_source(f"folder:{root}", "train")


def masks(root):
    for i in range(10):
        write(root / "images" / f"{i}.png", i)
        write(root / "masks" / f"{i}.png", i % 2)
    return open_source(f"masks:{root}", "train", class_names=["a", "b"], holds="mask")


def coco(root):
    for i in range(4):
        write(root / "train" / f"{i}.png", i)
    described = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 4, "height": 4} for i in range(4)],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 2]}],
        "categories": [{"id": 3, "name": "cell"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(described))
    return open_source(f"coco:{root}", "train", holds="boxes")


def voc(root):
    for i in range(10):
        write(root / "JPEGImages" / f"{i}.png", i)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{i}.xml").write_text(
            "<annotation><size><width>4</width><height>4</height></size><object><name>cat</name>"
            "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></object>"
            "</annotation>"
        )
    return open_source(f"voc:{root}", "train", holds="boxes")


def again(source, root):
    """The same kind of set, opened at another place."""
    kind = {"classes": "folder", "masks": "masks", "coco": "coco", "voc": "voc"}[source]
    if kind == "folder":
        return load_source(f"folder:{root}", "train")
    if kind == "masks":
        return open_source(f"masks:{root}", "train", class_names=["a", "b"], holds="mask")
    return open_source(f"{kind}:{root}", "train", holds="boxes")


KINDS = {"classes": classes, "masks": masks, "coco": coco, "voc": voc}


@pytest.mark.parametrize("kind", KINDS)
def test_a_moved_folder_is_the_same_set(kind, tmp_path):
    before = fingerprint.fingerprint(KINDS[kind](tmp_path / "here"))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "elsewhere" / "renamed")
    assert fingerprint.fingerprint(again(kind, tmp_path / "elsewhere" / "renamed")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_size_or_name_is_seen(kind, tmp_path):
    source = KINDS[kind](tmp_path)
    before = fingerprint.fingerprint(source)
    (record,) = source.__getitems__([0])
    content = record["image"].read_bytes()
    record["image"].write_bytes(content + b"more")
    assert fingerprint.fingerprint(again(kind, tmp_path)) != before
    record["image"].write_bytes(content)
    assert fingerprint.fingerprint(again(kind, tmp_path)) == before
    if kind == "classes":  # in the others a name is written down elsewhere too
        record["image"].rename(record["image"].with_name("another.png"))
        assert fingerprint.fingerprint(again(kind, tmp_path)) != before


def test_a_set_that_shrank_has_another_number_and_fingerprint(tmp_path):
    before = fingerprint.described({"train": classes(tmp_path)})["train"]
    assert before["examples"] == 16
    for i in range(5):
        (tmp_path / "cat" / f"{i}.png").unlink()
    now = fingerprint.described({"train": load_source(f"folder:{tmp_path}", "train")})["train"]
    assert now["examples"] == 12
    assert now["fingerprint"] != before["fingerprint"]
    assert now["split"] == before["split"] == "train"


def test_a_picture_in_another_class_is_seen(tmp_path):
    before = fingerprint.fingerprint(coco(tmp_path))
    file = tmp_path / "annotations" / "instances_train.json"
    for was, wanted in (('"bbox": [0,', '"bbox": [1,'), ('"name": "cell"', '"name": "sell"')):
        text = file.read_text()
        assert was in text
        file.write_text(text.replace(was, wanted))
        assert (
            fingerprint.fingerprint(open_source(f"coco:{tmp_path}", "train", holds="boxes"))
            != before
        )
        file.write_text(text)


def test_of_a_large_set_some_sizes_are_asked_for_and_all_names(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "SIZES_ASKED", 8)
    before = fingerprint.fingerprint(classes(tmp_path))
    (tmp_path / "cat" / "3.png").rename(tmp_path / "cat" / "33.png")
    assert fingerprint.fingerprint(load_source(f"folder:{tmp_path}", "train")) != before


def test_a_file_that_is_gone_is_no_error_yet(tmp_path):
    source = classes(tmp_path)
    before = fingerprint.fingerprint(source)
    source.__getitems__([0])[0]["image"].unlink()
    assert fingerprint.fingerprint(source) != before


@pytest.mark.parametrize("dataset", ["digits", "mnist1d"])
def test_built_in_sets_say_their_version(dataset, tmp_path):
    train, test, part = (
        fingerprint.fingerprint(load_source(dataset, split, data_dir=str(tmp_path)))
        for split in ("train", "test", "train[:50%]")
    )
    assert len({train, test, part}) == 3
    again = load_source(dataset, "train", data_dir=str(tmp_path))
    assert fingerprint.fingerprint(again) == train


def test_a_set_of_tfds_is_its_version_and_what_some_records_hold(tmp_path):
    """A builder of one's own, whose version was not raised when its labels changed."""
    import tensorflow_datasets as tfds

    class Changing(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        turned = 0

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(4, 4, 3)),
                "label": tfds.features.ClassLabel(num_classes=2),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(8):
                picture = io.BytesIO(encode(np.full((4, 4, 3), i, np.uint8)))
                yield i, {"image": picture, "label": (i + self.turned) % 2}

    def prepared(where):
        return fingerprint.fingerprint(load_source("changing", "train", data_dir=str(where)))

    first = prepared(tmp_path / "one")
    assert prepared(tmp_path / "two") == first
    Changing.turned = 1
    assert prepared(tmp_path / "three") != first


def test_the_shuffled_twin_is_another_set():
    names = ("mnist1d", "mnist1d_shuffled")
    assert len({fingerprint.fingerprint(load_source(name, "train")) for name in names}) == 2


def test_a_class_may_have_any_name_that_json_can_write(tmp_path):
    source, seen = classes(tmp_path), set()
    for name in ("\ud800", "\udfff", "\udc80"):  # halves of a pair, which UTF-8 has not
        seen.add(fingerprint.fingerprint(dataclasses.replace(source, class_names=(name, "dog"))))
    assert len(seen) == 3


def test_unknown_records_count():
    assert fingerprint.fingerprint(make_source(10)) == fingerprint.fingerprint(make_source(10))
    assert fingerprint.fingerprint(make_source(10)) != fingerprint.fingerprint(make_source(9))
