"""What a survey counts, against counts made otherwise; and when it is taken again."""

import dataclasses
import json
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, Source, Survey, findings, open_source, summary, survey_splits
from cnn_jax.data.survey import kept, surveying
from cnn_jax.data.survey.rows import Stopped


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(path, seed=0, size=(16, 12), mode="RGB", **save):
    """Noise; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(path, **save)
    return path


def folder(root):
    """Two splits of two classes with one of everything that a survey counts."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for i in range(6):
        picture(root / f"train/ant/{i}.png", i)
        picture(root / f"train/bee/{i}.jpg", 10 + i, (20, 30))
        picture(root / f"test/bee/{i}.png", 20 + i)
    picture(root / "test/ant/0.png", 30)
    picture(root / "train/ant/grey.png", 40, mode="L")
    picture(root / "train/ant/deep.png", 41, mode="I;16")
    picture(root / "train/bee/phone.jpg", 42, (40, 24), exif=turned)
    picture(root / "train/bee/ant1.png", 1)  # the same as ant/1.png, and called a bee
    picture(root / "train/bee/big.png", 50, (200, 150))  # beyond what is read whole
    (root / "test/bee/big.png").write_bytes((root / "train/bee/big.png").read_bytes())
    picture(root / "test/bee/other.png", 51, (200, 150), compress_level=0)
    picture(root / "train/bee/other.png", 52, (200, 150), compress_level=0)  # of equal size
    (root / "train/ant/notes.txt").write_text("no image")
    return f"folder:{root}"


class InMemory:
    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitems__(self, indices):
        return [self.records[i] for i in indices]

    def describe(self, index):
        return f"record {index}"


def opened(dataset, holds="label", **options):
    return {part: open_source(dataset, part, holds=holds, **options) for part in ("train", "test")}


def test_counts_of_a_folder(tmp_path):
    sources = opened(folder(tmp_path / "set"))
    found = survey_splits(sources, dataset="folder:set")
    train, test = found.splits["train"], found.splits["test"]
    for name, split in found.splits.items():  # against Pillow, file by file
        sizes, modes, formats = Counter(), Counter(), Counter()
        for record in sources[name]:
            with Image.open(record["image"]) as image:
                turned = image.getexif().get(0x0112, 1) >= 5
                sizes[image.size if turned else image.size[::-1]] += 1
                modes[image.mode] += 1
                formats[image.format] += 1
        assert (split.sizes, split.modes, split.formats) == (sizes, modes, formats)
    assert train.examples == 18
    assert test.examples == 9
    assert train.orientations == {1: 17, 6: 1}
    assert train.depths == {8: 17, 16: 1}
    assert train.class_counts == (8, 10)
    assert test.class_counts == (1, 8)
    assert train.copies.groups == train.copies.spare == 1
    assert test.copies.groups == 0
    assert {os.path.basename(name) for name in train.copies.first[0]} == {"1.png", "ant1.png"}
    assert train.contradictions == train.copies
    assert found.shared.spare == 1
    assert [name.partition("/set/")[2] for name in found.shared.first[0]] == [
        "train/bee/big.png",
        "test/bee/big.png",
    ]
    assert train.left_out["not an image"].count == 1
    assert Survey.from_json(json.loads(json.dumps(found.to_json()))) == found

    texts = [text for kind, text in findings(found) if kind == "warning"]
    for wanted in (
        "1 example of test is also in train",
        "with different labels",
        "differ in their bits a sample, 17 of 8 and 1 of 16",
    ):
        assert sum(wanted in text for text in texts) == 1, texts
    line = summary(found)[0]
    assert "18 examples of 16x12 to 200x150 RGB/" in line
    assert "1 turned by EXIF" in line


def test_the_splits_that_share_examples_are_named_and_no_others(tmp_path):
    dataset = folder(tmp_path / "set")
    for i in range(2):
        picture(tmp_path / f"set/val/bee/{i}.png", 60 + i)
    parts = ("train", "val", "test")

    def shared():
        sources = {part: open_source(dataset, part, holds="label") for part in parts}
        found = survey_splits(sources, dataset=dataset)
        (said,) = [
            text for _, text in findings(found) if "byte for byte" in text and "also" in text
        ]
        assert Survey.from_json(json.loads(json.dumps(found.to_json()))) == found
        return found.shared_by, said

    by, said = shared()
    assert by == {"test": 1}
    assert "1 example of test is also in train" in said
    assert "val" not in said
    for i in range(2):
        picture(tmp_path / f"set/val/bee/{i}.png", 2 + i)  # as in train/ant
    by, said = shared()
    assert by == {"val": 2, "test": 1}
    assert "2 examples of val and 1 of test are also in train" in said


def test_images_that_cannot_be_read_are_an_error_that_names_three(tmp_path):
    dataset = folder(tmp_path / "set")
    for i in range(4):
        (tmp_path / f"set/train/ant/{i}.png").write_bytes(b"" if i else b"no image at all")
    found = survey_splits(opened(dataset), dataset=dataset)
    (error,) = [one.text for one in findings(found) if one.kind == "error"]
    assert "4 of 18 images cannot be read" in error
    assert "and 1 more" in error
    assert error.count(".png (") == 3
    assert "skip_corrupt=true" in error
    assert not [one for one in findings(found, skip_corrupt=True) if one.kind == "error"]
    assert sum(found.splits["train"].sizes.values()) == 14


def test_a_survey_is_taken_again_until_something_changes(tmp_path, monkeypatch):
    """An added, changed, removed and touched file each ask for a new one."""
    root = tmp_path / "set"
    dataset = folder(root)
    read = []
    rows = surveying.rows.read_rows
    monkeypatch.setattr(
        surveying.rows, "read_rows", lambda *a, **k: read.append(1) or rows(*a, **k)
    )

    def surveys() -> int:
        """The number of splits that are read."""
        read.clear()
        before = survey_splits(opened(dataset), dataset=dataset)
        taken = len(read)
        assert survey_splits(opened(dataset), dataset=dataset) == before
        assert len(read) == taken
        return taken

    assert surveys() == 2
    assert surveys() == 0
    picture(root / "train/ant/new.png", 99)
    assert surveys() == 2
    (root / "train/ant/new.png").unlink()
    assert surveys() == 2
    os.utime(root / "test/ant/0.png")
    assert surveys() == 2
    file = root / "test/ant/0.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert surveys() == 2
    (root / "train/ant/notes.txt").unlink()
    assert surveys() == 2
    for one in (tmp_path / "cache/cnn_jax/surveys").iterdir():
        one.write_text("{")
    assert surveys() == 2
    monkeypatch.setattr(kept, "VERSION", -1)
    assert surveys() == 2


def test_arrays_boxes_and_masks(tmp_path):
    """Other readers: counts against the arrays themselves."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 5, 4, 3), np.uint8)
    images[3] = images[7]
    labels = np.arange(10) % 2
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels,
             test_images=images[:4] // 2, test_labels=labels[:4])  # fmt: skip
    found = survey_splits(opened(f"npz:{tmp_path / 'a.npz'}"))
    assert found.splits["train"].sizes == {(5, 4): 10}
    assert found.splits["train"].copies.spare == 1
    assert found.shared.spare == 0
    assert found.splits["train"].contradictions.groups == 0

    labels = rng.integers(0, 3, (20, 4))
    corners = rng.uniform(0, 0.5, (20, 4, 2))
    records = [
        {
            "image": picture(tmp_path / f"boxes/{i}.png", i, (64, 32)),
            "boxes": np.concatenate([corners[i], corners[i] + 0.4], 1)[: i % 5],
            "labels": labels[i, : i % 5],
            "crowd": np.zeros(min(i % 5, 4), bool),
        }
        for i in range(20)
    ]
    found = survey_splits({"train": Source("s", "all", InMemory(records), "abc", (32, 64, 3))})
    held = found.splits["train"].boxes
    assert (held.count, held.most, held.empty) == (40, 4, 4)
    assert held.sides == {16: 40}  # 0.4 * sqrt(64 * 32) = 18.1 pixels
    assert found.splits["train"].class_counts == tuple(
        np.bincount(np.concatenate([one["labels"] for one in records]), minlength=3)
    )
    for i in range(3):
        picture(tmp_path / f"masks/images/{i}.png", i)
        mask = np.full((12, 16), i, np.uint8)
        (tmp_path / "masks/masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"masks/masks/{i}.png")
    whole = open_source(f"masks:{tmp_path / 'masks'}", "all", holds="mask")
    found = survey_splits({"train": whole, "test": whole})
    assert found.splits["train"].masks.values == {0: 192, 1: 192, 2: 192}
    assert found.splits["train"].class_counts == (1, 1, 1)
    assert found.shared.groups == 0  # one and the same split is no leak between two


def test_classes_and_sizes_that_are_suspicious(tmp_path):
    for i in range(20):
        picture(tmp_path / f"train/ant/{i}.png", i, (160, 160))
        picture(tmp_path / f"test/bee/{i}.png", 100 + i, (160, 160))
    picture(tmp_path / "test/ant/0.png", 29, (160, 160))
    picture(tmp_path / "train/wasp/0.png", 30, (160, 160))
    picture(tmp_path / "train/ant/thumbnail.png", 31, (9, 9))
    sources = opened(f"folder:{tmp_path}")
    texts = [text for _, text in findings(survey_splits(sources))]
    assert any("one example alone of wasp" in text for text in texts)
    assert any("20 examples of classes that have none in train, bee" in text for text in texts)
    assert any("1/8 of the median one, such as 9x9" in text for text in texts)


def test_a_survey_can_be_stopped_and_passes_on_what_records_raise(tmp_path):
    source = open_source("digits", "train")
    with pytest.raises(Stopped):
        survey_splits({"train": source}, keep=False, stopped=lambda: True)

    class Broken:
        def __len__(self):
            return 3

        def __getitems__(self, indices):
            raise DataError("the disk is gone")

    broken = dataclasses.replace(source, records=Broken())
    with pytest.raises(DataError, match="the disk is gone"):
        survey_splits({"train": broken}, keep=False)
