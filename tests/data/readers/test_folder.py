"""Folders of pictures: what is found, in which order, and what is said when something is wrong."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, eval_batches, image_loader, load_source
from tests.data.pictures import encode


def write(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((4, 6, 3), np.uint8) if pixels is None else pixels
    path.write_bytes(encode(pixels, **options))


def flat(root, classes=("cat", "dog"), n=10):
    for name in classes:
        for i in range(n):
            write(root / name / f"{i}.png")
    return root


def files(source):
    return [str(source[i]["image"]) for i in range(len(source))]


def test_a_flat_folder_is_divided_by_class(tmp_path):
    flat(tmp_path)
    everything, train, test = (
        load_source(f"folder:{tmp_path}", s) for s in ("all", "train", "test")
    )
    assert (len(everything), len(train), len(test)) == (20, 16, 4)
    assert sorted(files(train) + files(test)) == sorted(files(everything))
    assert sorted(test[i]["label"] for i in range(4)) == [0, 0, 1, 1]
    assert test.class_names == ("cat", "dog")
    assert all(train.class_names[train[i]["label"]] in files(train)[i] for i in range(16))
    assert train.image_shape == (None, None, 3)


def test_the_order_mixes_the_classes_and_is_the_same_everywhere(tmp_path):
    a = load_source(f"folder:{flat(tmp_path / 'a', n=50)}", "all[:20%]")
    b = load_source(f"folder:{flat(tmp_path / 'b', n=50)}", "all[:20%]")
    assert [f.replace("/a/", "/b/") for f in files(a)] == files(b)
    assert 3 < sum(a[i]["label"] for i in range(len(a))) < 17


def test_splits_are_sub_folders_and_classes_those_of_all_splits(tmp_path, caplog):
    flat(tmp_path / "train", ("ant", "bee", "cow"))
    flat(tmp_path / "val", ("bee", "cow"), n=3)
    val = load_source(f"folder:{tmp_path}", "val")
    assert val.class_names == ("ant", "bee", "cow")
    assert sorted(val[i]["label"] for i in range(6)) == [1, 1, 1, 2, 2, 2]
    assert any("ant holds no images" in message for message in caplog.messages)
    assert len(load_source(f"folder:{tmp_path}", "train[:50%]+val")) == 15 + 6
    with pytest.raises(DataError, match="has no split 'test': it has 'train', 'val'"):
        load_source(f"folder:{tmp_path}", "test")


def test_other_files_are_left_out_with_a_warning(tmp_path, caplog):
    flat(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    write(tmp_path / "dog" / "more" / "UPPER.PNG")
    source = load_source(f"folder:{tmp_path}", "all", channels=1)
    assert len(source) == 21
    assert source.image_shape == (None, None, 1)
    assert any("left out 1 files that are not images" in message for message in caplog.messages)


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        load_source(f"folder:{tmp_path / 'nowhere'}", "train")
    with pytest.raises(DataError, match="write folder:PATH"):
        load_source("folder:", "train")
    with pytest.raises(DataError, match=r"one sub-folder of images per class.* found none"):
        load_source(f"folder:{tmp_path}", "train")
    flat(tmp_path, ("cat",))
    with pytest.raises(DataError, match="at least two classes; found cat"):
        load_source(f"folder:{tmp_path}", "train")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "b").mkdir()
    with pytest.raises(DataError, match="no example was found"):
        load_source(f"folder:{tmp_path / 'empty'}", "train")
    with pytest.raises(DataError, match="channels=5"):
        load_source(f"folder:{flat(tmp_path / 'ok')}", "all", channels=5)


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    import os

    flat(tmp_path)

    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"cannot read the folder .*: Permission denied"):
        load_source(f"folder:{tmp_path}", "all")


def test_a_file_that_went_away_is_named_even_if_corrupt_ones_are_skipped(tmp_path):
    source = load_source(f"folder:{flat(tmp_path)}", "all", skip_corrupt=True)
    (tmp_path / "dog" / "4.png").unlink()
    with pytest.raises(DataError, match=r"cannot read the image .*dog/4.png: No such file"):
        list(eval_batches(source, image_loader(source, 4), batch_size=20))


def test_a_corrupt_file_is_named_or_skipped(tmp_path):
    flat(tmp_path)
    (tmp_path / "dog" / "4.png").write_bytes(b"\x89PNG")
    source = load_source(f"folder:{tmp_path}", "all")
    with pytest.raises(DataError, match=r"record \d+ \(.*dog/4.png\) is corrupt") as error:
        eval_batches(source, image_loader(source, 4), batch_size=20)
    assert "\n" not in str(error.value)
    source = load_source(f"folder:{tmp_path}", "all", skip_corrupt=True)
    (batch,) = eval_batches(source, image_loader(source, 4), batch_size=20)
    assert batch["mask"].sum() == 19


def test_phone_photographs_are_turned_upright(tmp_path):
    flat(tmp_path, n=1)
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255  # the left half is white; turned by orientation 6 it is the upper half
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "cat" / "0.png", pixels, exif=exif)
    source = load_source(f"folder:{tmp_path}", "all")
    (batch,) = eval_batches(source, image_loader(source, (6, 4)), batch_size=2)
    turned = batch["image"][batch["label"] == 0][0]
    assert (turned[:3] == 255).all()
    assert not turned[3:].any()
