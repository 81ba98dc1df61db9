"""Folders and series whose parts are nonsense, or are there twice: one line, never a guess."""

import io
import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, decode_mask, load_source, open_source, reading
from cnn_jax.data.readers.ucr import open_ucr

pytestmark = pytest.mark.timeout(30, method="thread")


def folder(root):
    for k, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (k, i, 0)).save(root / name / f"{i}.png")
    return f"folder:{root}"


@pytest.mark.parametrize("target", [".", "..", "../ant/deeper"])
def test_links_that_lead_back(tmp_path, target):
    """One to '..' made 246 images of six; two to '.' make 2**40 ways."""
    dataset = folder(tmp_path)
    (tmp_path / "ant" / "deeper").mkdir()
    for name in ("ant/x", "ant/y", "ant/deeper/x", "ant/deeper/y"):
        (tmp_path / name).symlink_to(tmp_path / "ant" / target, target_is_directory=True)
    source = load_source(dataset, "all")
    assert len(source) == 6


def test_a_linked_folder_is_read(tmp_path):
    dataset = folder(tmp_path / "set")
    folder(tmp_path / "more")
    (tmp_path / "set" / "ant" / "more").symlink_to(tmp_path / "more" / "ant")
    assert len(load_source(dataset, "all")) == 9


def test_folders_in_folders_without_end(tmp_path):
    """They ended in a RecursionError."""
    dataset = folder(tmp_path)
    top = os.open(tmp_path / "ant", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=top)
        below = os.open("d", os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.close(top)
    try:
        assert len(load_source(dataset, "all")) == 6
    finally:  # shutil, with which pytest tidies up, goes no deeper than Python's stack
        subprocess.run(["rm", "-rf", tmp_path / "ant"], check=True)


def voc(root, *, size="", name="cat", difficult="0"):
    (root / "JPEGImages").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "JPEGImages" / "0.png")
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax></bndbox>"
    (root / "Annotations" / "0.xml").write_text(
        f"<annotation>{size}<object><name>{name}</name><difficult>{difficult}</difficult>{box}"
        "</object></annotation>"
    )
    return f"voc:{root}"


@pytest.mark.parametrize("side", ["inf", "nan", "1e-320", "0", "-8", "1e308"])
def test_voc_with_a_size_that_is_none(tmp_path, side):
    """The image's own is taken, as where there is none; no box becomes a point, or infinite."""
    size = f"<size><width>{side}</width><height>8</height></size>"
    source = open_source(voc(tmp_path, size=size), "all", holds="boxes")
    np.testing.assert_allclose(source[0]["boxes"], [[0, 0, 0.5, 1]])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"name": " "}, "an object whose name is empty"),
        ({"name": "<b>cat</b>"}, "an object whose name is empty"),
        ({"difficult": "yes"}, "an object whose difficult is 'yes', wanted 0 or 1"),
    ],
)
def test_voc_with_objects_of_no_kind(tmp_path, changes, what):
    with pytest.raises(DataError, match=rf"0\.xml is not in VOC's format: {what}"):
        open_source(voc(tmp_path, **changes), "all", holds="boxes")


def test_voc_with_two_images_of_one_name(tmp_path):
    """One of them was left out, without a word."""
    dataset = voc(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages" / "0.jpg")
    with pytest.raises(DataError, match=r"0\.jpg and .*0\.png would have the same annotations"):
        open_source(dataset, "all", holds="boxes")


def masks(root, count=2):
    for folder in ("images", "masks"):
        (root / folder).mkdir()
        for i in range(count):
            Image.new("L", (8, 8), i).save(root / folder / f"{i}.png")
    return f"masks:{root}"


def test_two_masks_of_one_picture(tmp_path):
    dataset = masks(tmp_path)
    Image.new("L", (8, 8), 1).save(tmp_path / "masks" / "0.bmp")
    with pytest.raises(DataError, match=r"0\.bmp and .*0\.png are masks of one image"):
        open_source(dataset, "all", holds="mask")


def test_masks_without_a_picture(tmp_path):
    with pytest.raises(DataError, match=r"images holds no images"):
        open_source(masks(tmp_path, count=0), "all", holds="mask")


@pytest.mark.parametrize("lines", ["", " \n\t\n", "a\na\n", "".join(f"{i}\n" for i in range(256))])
def test_a_list_of_classes_that_cannot_be(tmp_path, lines):
    """Of 256 classes the last would be the value of what is ignored."""
    dataset = masks(tmp_path)
    (tmp_path / "classes.txt").write_text(lines)
    with pytest.raises(DataError, match=r"classes\.txt must have one class per line, each once"):
        open_source(dataset, "all", holds="mask")


def test_lines_end_where_an_editor_ends_them(tmp_path):
    """A form feed, or a separator of Unicode, in a name made two classes of it."""
    (tmp_path / "classes.txt").write_bytes("a\fb\r\nc\u2028d\re\x1cf\n".encode())
    assert reading.read_lines(tmp_path / "classes.txt") == ["a\fb", "c\u2028d", "e\x1cf"]


def encoded(image, form="TIFF"):
    file = io.BytesIO()
    image.save(file, format=form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (Image.fromarray(np.full((8, 8), 1.5, np.float32)), "fractional values"),
        (Image.fromarray(np.full((8, 8), np.nan, np.float32)), "value nan"),
        (Image.new("CMYK", (8, 8), (1, 1, 1, 9)), "in CMYK"),
        (Image.new("LAB", (8, 8)), "in LAB"),
    ],
    ids=["fractions", "nan", "cmyk", "lab"],
)
def test_masks_of_another_mode(image, what):
    with pytest.raises(ValueError, match=what):
        decode_mask(encoded(image))


def test_a_mask_with_an_alpha_channel():
    assert decode_mask(encoded(Image.new("LA", (3, 2), (7, 255)), "PNG")).tolist() == [[7] * 3] * 2


def ucr(root, train, test="1,2,3:a\n3,2,1:b\n"):
    (root / "X").mkdir()
    for part, lines in (("TRAIN", train), ("TEST", test)):
        (root / "X" / f"X_{part}.ts").write_text(f"@classLabel true a b\n@data\n{lines}")
    return open_ucr("X", "train", data_dir=str(root))


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("1,2,3:a\n1,nan,3:b\n", "line 4: a value that is not finite"),
        ("1,-inf,3:a\n", "line 3: a value that is not finite"),
        ("1,1e39,3:a\n", "line 3: a value that is not finite, or too large"),
        ("1,2,3:\n", "line 3: no label"),
        ("1,2,3\n", "line 3: no label"),
        ("1,2,3:4,5,6:a\n1,2,3:b\n", "line 4: 1 channels, and 2 in the lines before"),
    ],
)
def test_series_of_nonsense(tmp_path, lines, what):
    """One NaN made all values of the set NaN, without a word."""
    with pytest.raises(DataError, match=rf"X_TRAIN\.ts, {what}"):
        ucr(tmp_path, lines)


def test_splits_that_differ_in_their_channels(tmp_path):
    with pytest.raises(DataError, match="ucr:X: the splits have 1 and 2 channels"):
        ucr(tmp_path, "1,2:3,4:a\n1,2:3,4:b\n")


def test_series_of_one_class(tmp_path):
    with pytest.raises(DataError, match="ucr:X has one class, 'a': wanted two or more"):
        ucr(tmp_path, "1,2,3:a\n", "1,2,3:a\n")


def test_one_long_series_among_many_short_ones(tmp_path):
    """Half a megabyte that padding made 16 GB."""
    lines = "1:a\n" * 20_000 + ",".join(["1"] * 200_000) + ":b\n"
    with pytest.raises(DataError, match="20,003 series would be padded to the longest, 200,000"):
        ucr(tmp_path, lines)
