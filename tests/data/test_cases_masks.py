"""Masks as people have them: black and white, with alpha, as JPEG, of one class alone."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, mask_loader, open_source
from cnn_jax.data.survey import masks as mask_survey


def folder(root, values=(0, 255), n=8, suffix=".png", mode="L", **save):
    """Images and masks 64x64; each mask has a square of every value but the first."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        rng = np.random.default_rng(i)
        mask = np.full((64, 64), values[0], np.uint8)
        for k, value in enumerate(values[1:]):
            mask[20 * k + 4 : 20 * k + 20, 4 + i : 24 + i] = value
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / f"images/{i}.png")
        Image.fromarray(mask).convert(mode).save(root / f"masks/{i}{suffix}", **save)
    return root


def read(root, split="all", **options):
    return open_source(f"masks:{root}", split, holds="mask", **options)


def labels(source, index=0):
    return mask_loader(source)(source[index], None)["label"]


def said(caplog, text):
    return any(text in message for message in caplog.messages)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
@pytest.mark.parametrize("names", [(), ("sky", "bird")])
def test_black_and_white_masks_have_two_classes(tmp_path, caplog, names, mode):
    folder(tmp_path, mode=mode)
    for split in ("train", "test"):
        source = read(tmp_path, split, class_names=names)
        assert source.class_names == (names or ("background", "foreground"))
        label = labels(source)
        stored = np.asarray(Image.open(source[0]["mask"]).convert("L"))
        np.testing.assert_array_equal(label, stored // 255)
        assert set(np.unique(label)) == {0, 1}
    assert said(caplog, f"255 is the class {source.class_names[1]}, and not ignored")


def test_masks_as_gif(tmp_path):
    """Whoever writes a GIF numbers its colours anew: 1, 2, 255 came back as 0, 1, 2."""
    folder(tmp_path, values=(1, 2, 255), suffix=".gif")
    assert set(np.unique(labels(read(tmp_path)))) == {1, 2, 255}
    for file in (tmp_path / "masks").iterdir():
        with Image.open(file) as grey:
            mask = Image.fromarray(np.asarray(grey.convert("L")))
        mask.putpalette([7 * k % 256 for k in range(768)])
        mask.save(file)
    with pytest.raises(DataError, match=r"a GIF in colour.*save masks as PNG"):
        read(tmp_path)


def test_255_is_ignored_beside_two_classes(tmp_path, caplog):
    source = read(folder(tmp_path, values=(0, 1, 255)))
    assert source.class_names == ("class 0", "class 1")
    assert set(np.unique(labels(source))) == {0, 1, 255}
    assert not caplog.messages


def test_255_that_is_ignored_explicitly_leaves_nothing_to_learn(tmp_path):
    with pytest.raises(DataError, match=r"only of the class class 0.*there is nothing to learn"):
        read(folder(tmp_path), "train", ignored=[255])
    with pytest.raises(DataError, match=r"only of the class a, .*images/\d\.png, .*255 marks"):
        read(tmp_path, "train", class_names=["a", "b", "c"])


@pytest.mark.parametrize("value", [0, 1, 3])
def test_masks_of_one_value(tmp_path, value):
    with pytest.raises(DataError, match=f"only of the class class {value},.*nothing to learn"):
        read(folder(tmp_path, values=(value,)), "train")


def test_one_damaged_mask_does_not_hide_the_others(tmp_path):
    folder(tmp_path, values=(0,))
    (tmp_path / "masks" / "0.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match="there is nothing to learn"):
        read(tmp_path, "all", class_names=["a", "b", "c"], skip_corrupt=True)


def test_masks_that_are_all_ignored(tmp_path):
    folder(tmp_path, values=(255,))
    with pytest.raises(DataError, match="every pixel of every mask is ignored"):
        read(tmp_path, "train")
    with pytest.raises(DataError, match="masks are ignored, all, such as"):
        read(tmp_path, "train", class_names=["a", "b", "c"])


def test_a_sample_of_a_large_set_is_not_taken_for_all_of_it(tmp_path, caplog, monkeypatch):
    """One image in eight has an object, and it is not among those that are read."""
    monkeypatch.setattr(mask_survey, "SAMPLE", 2)
    monkeypatch.setattr(mask_survey, "MOST", 4)
    folder(tmp_path, values=(0,))
    source = read(tmp_path, class_names=["ground", "object"])
    unread = min(set(range(8)) - set(mask_survey.evenly(8, 4)))
    Image.new("L", (64, 64), 1).save(source.records.pairs[unread].mask)
    assert len(read(tmp_path, class_names=["ground", "object"])) == 8
    assert said(caplog, "4 masks are only of the class ground")
    assert said(caplog, "if the others are like them, there is nothing to learn")


def test_a_test_split_of_one_class_is_said(tmp_path, caplog):
    folder(tmp_path, values=(0, 1, 2))
    for pair in read(tmp_path, "test").records.pairs:
        Image.new("L", (64, 64), 255).save(pair.mask)
    assert not caplog.messages
    assert len(read(tmp_path, "test")) == 2
    assert said(caplog, "there is nothing to learn or to measure")


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png"])
@pytest.mark.parametrize("names", [(), ("a", "b", "c")])
def test_masks_as_jpeg(tmp_path, suffix, names):
    folder(tmp_path, values=(0, 120, 240), suffix=suffix, format="JPEG")
    with pytest.raises(DataError, match=r"masks/0\.\w+, .*1\.\w+, .*2\.\w+ and 5 more are JPEGs"):
        read(tmp_path, class_names=names)


def test_values_with_gaps_are_said(tmp_path, caplog):
    assert read(folder(tmp_path, values=(0, 100, 200))).num_classes == 201
    assert said(caplog, "the masks have 3 values, 0, 100, 200, of 201 classes")


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_grey_masks_with_alpha_or_in_colour(tmp_path, mode):
    source = read(folder(tmp_path, values=(0, 1, 2), mode=mode))
    assert source.class_names == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(np.unique(labels(source)), [0, 1, 2])


@pytest.mark.parametrize("part", ["images", "masks"])
def test_hidden_files_do_not_exist(tmp_path, part):
    folder(tmp_path, values=(0, 1, 2))
    for name in ("._0.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / part / name).write_bytes(b"\0\5\26\7" + bytes(78))
    (tmp_path / part / ".ipynb_checkpoints").mkdir()
    assert len(read(tmp_path)) == 8


def test_two_images_of_one_mask(tmp_path):
    folder(tmp_path, values=(0, 1, 2))
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "3.jpg")
    with pytest.raises(DataError, match=r"3\.jpg and .*3\.png would have the same mask"):
        read(tmp_path)


def test_masks_without_an_image_are_counted(tmp_path, caplog):
    folder(tmp_path, values=(0, 1, 2))
    (tmp_path / "images" / "3.png").unlink()
    assert len(read(tmp_path)) == 7
    assert said(caplog, "left out 1 masks in")
