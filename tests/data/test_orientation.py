"""Which way up images are: boxes and masks lie on their objects, whichever program made them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, box_loader, mask_loader, open_source
from cnn_jax.data.decode import decode_image, image_size
from cnn_jax.data.image_header import read_header
from cnn_jax.data.orientation import turn_boxes, turn_pixels

BOX = (5, 60, 35, 90)  # of the upright image, 40 wide and 100 high: a white square


def photograph(path, orientation=6, size=(40, 100), box=BOX):
    """An image that is upright once it is turned as its orientation says."""
    upright = np.zeros((*size[::-1], 3), np.uint8)
    upright[box[1] : box[3], box[0] : box[2]] = 255
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.ascontiguousarray(turn_pixels(upright, inverse))
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    return stored


def stored_box(stored):
    """(left, top, right, bottom) of what is white."""
    white = stored[..., 0] > 127
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    return tuple(map(int, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)))


def coco(root, rows):
    """rows: (stem, size stated, box in pixels)."""
    images = [
        {"id": i, "file_name": f"{stem}.jpg", "width": size[0], "height": size[1]}
        for i, (stem, size, _) in enumerate(rows)
    ]
    notes = [
        {"image_id": i, "category_id": 1, "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
        for i, (_, _, b) in enumerate(rows)
    ]
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_train.json").write_text(
        json.dumps(
            {
                "images": images,
                "annotations": notes,
                "categories": [{"id": 1, "name": "square"}],
            }
        )
    )
    return f"coco:{root}", "train"


def voc(root, rows):
    (root / "train").rename(root / "JPEGImages")
    (root / "Annotations").mkdir()
    for stem, size, (left, top, right, bottom) in rows:
        sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
        (root / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation>{sides}<object><name>square</name><bndbox><xmin>{left + 1}</xmin>"
            f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            "</annotation>"
        )
    return f"voc:{root}", "all"


def check_boxes(source):
    """Every box is around what is white in the image that the network sees."""
    load = box_loader(source, (100, 100), capacity=1)
    for index in range(len(source)):
        example = load(source[index], None)
        left, top, right, bottom = example["boxes"][0].round().astype(int)
        inside = example["image"][top:bottom, left:right]
        height, width = example["extent"].astype(int)
        assert inside[2:-2, 2:-2].min() > 150
        outside = example["image"][:height, :width].astype(int).copy()
        outside[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = 0
        assert outside.max() < 100
        upright = decode_image(source[index]["image"], upright=True).shape[:2]
        assert abs(height / width - upright[0] / upright[1]) < 0.1  # prediction shows it so


@pytest.mark.parametrize("make", [coco, voc])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("of_stored", [False, True])
def test_boxes_lie_on_their_objects(tmp_path, make, orientation, of_stored, caplog):
    """The size that is stated tells which image was annotated; a plain one says nothing."""
    rows = []
    for i, turned in enumerate((orientation, 6, 1)):
        stored = photograph(tmp_path / "train" / f"{i}.jpg", turned)
        size = stored.shape[1::-1] if of_stored else (40, 100)
        rows.append((i, size, stored_box(stored) if of_stored else BOX))
    dataset, split = make(tmp_path, rows)
    source = open_source(dataset, split, holds="boxes")
    assert len(source) == 3
    check_boxes(source)
    told = any("do not tell" in message for message in caplog.messages)
    assert told == (orientation in (2, 3, 4))


@pytest.mark.parametrize("make", [coco, voc])
def test_without_a_hint_the_annotation_is_of_the_upright_image(tmp_path, make, caplog):
    photograph(tmp_path / "train" / "a.jpg", 6, (80, 80), (5, 40, 35, 70))
    dataset, split = make(tmp_path, [("a", (80, 80), (5, 40, 35, 70))])
    source = open_source(dataset, split, holds="boxes")
    check_boxes(source)
    assert any("1 images are turned by their EXIF" in message for message in caplog.messages)


def test_voc_without_a_size(tmp_path):
    photograph(tmp_path / "train" / "a.jpg")
    photograph(tmp_path / "train" / "b.jpg", 1)
    check_boxes(open_source(*voc(tmp_path, [("a", None, BOX), ("b", None, BOX)]), holds="boxes"))


@pytest.mark.parametrize("make", [coco, voc])
@pytest.mark.parametrize("size", [(80, 200), (100, 45), (10_000, 10_000)])
def test_a_size_that_is_not_the_images(tmp_path, make, size):
    """It scaled every box, without a word."""
    rows = []
    for i in range(5):
        photograph(tmp_path / "train" / f"{i}.jpg", 1 + 5 * (i % 2))
        rows.append((i, size if i else (40, 100), BOX))
    dataset, split = make(tmp_path, rows)
    shown = rf"\d\.jpg \({size[0]}x{size[1]}, and the image has 40x100\)"
    with pytest.raises(DataError, match=rf"{shown}, .*{shown}, .*{shown} and 1 more"):
        open_source(dataset, split, holds="boxes")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("of_stored", [False, True])
def test_masks_lie_on_their_objects(tmp_path, orientation, of_stored):
    (tmp_path / "masks").mkdir()
    for i, turned in enumerate((orientation, 6, 1)):
        stored = photograph(tmp_path / "images" / f"{i}.jpg", turned)
        shown = stored if of_stored else decode_image(tmp_path / f"images/{i}.jpg", upright=True)
        Image.fromarray((shown[..., 0] > 127).astype(np.uint8)).save(tmp_path / f"masks/{i}.png")
    source = open_source(f"masks:{tmp_path}", "all", holds="mask")
    assert source.image_shape == (100, 40, 3)
    load = mask_loader(source)
    for index in range(3):
        example = load(source[index], None)
        np.testing.assert_array_equal(example["image"][..., 0] > 127, example["label"])
        assert example["label"].sum() == 900


def test_a_turned_image_is_in_the_fingerprint(tmp_path):
    """Runs of before, which read it otherwise, are told apart; those without one are not."""

    def of(orientation):
        photograph(tmp_path / "train" / "a.jpg", orientation, (80, 80))
        source = open_source(*coco(tmp_path, [("a", (80, 80), BOX)]), holds="boxes")
        return "upright" in list(source.records.identities())

    assert of(6)
    assert not of(1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_those_of_pillow(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", exif=exif)
    upright = decode_image(encoded.getvalue(), upright=True)
    np.testing.assert_array_equal(turn_pixels(pixels, orientation), upright)
    box = np.array([[1 / 6, 1 / 4, 3 / 6, 2 / 4], [np.nan, 0, 1, 1], [3 / 6, 0, 1 / 6, 1]])
    held = np.zeros((4, 6), bool)
    held[1:2, 1:3] = True
    turned = turn_boxes(box, orientation)
    left, top, right, bottom = (turned[0] * np.tile(upright.shape[1::-1], 2)).round(6).astype(int)
    again = np.zeros(upright.shape[:2], bool)
    again[top:bottom, left:right] = True
    np.testing.assert_array_equal(turn_pixels(held, orientation), again)
    assert np.isnan(turned[1]).any()
    assert (turned[2, 2:] < turned[2, :2]).any()  # an inverted box is still one, and is left out


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG"])
def test_the_header_has_the_size_of_the_pixels(tmp_path, form, orientation, upright):
    """Pillow turns a TIFF as it decodes it: its size was taken for that of another image."""
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.new("RGB", (4, 2)).save(tmp_path / "a", form, exif=exif)
    data = (tmp_path / "a").read_bytes()
    pixels = decode_image(data, upright=upright)
    assert image_size(data, upright=upright) == pixels.shape[:2]
    assert read_header(tmp_path / "a") == (4, 2, orientation)
