"""Pictures with masks: SegNet's layout and images/ masks/, what may be wrong with them, weights."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.data import open_source
from cnn_jax.data.loaders import mask as masks
from cnn_jax.data.readers.tfds_masks import CITYSCAPES


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8), **options).save(path)


@pytest.fixture
def camvid(tmp_path):
    """Three splits of pictures 12x9, classes 0..2 and 11 for void, as in SegNet's CamVid."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        for i in range(count):
            save(tmp_path / split / f"{i:04}.png", rng.integers(0, 256, (9, 12, 3)))
            mask = rng.choice([0, 1, 2, 11], (9, 12))
            save(tmp_path / f"{split}annot" / f"{i:04}.png", mask)
    return tmp_path


def load(path, split="train", size=None, **options):
    source = open_source(f"masks:{path}", split, **options, holds="mask")
    loader = masks.mask_loader(source, size)
    return source, data.eval_batches(source, batch_size=2, load=loader, in_memory=True)


def test_segnets_layout(camvid):
    source, batches = load(camvid, ignored=[11])
    assert len(source) == 5
    assert len(load(camvid, "train+val[:50%]", ignored=[11])[0]) == 6
    assert source.image_shape == (9, 12, 3)
    assert source.class_names == ("class 0", "class 1", "class 2")
    for step, batch in enumerate(batches):
        assert batch["image"].dtype == batch["label"].dtype == np.uint8
        for row in range(2):
            if not batch["mask"][row]:
                continue
            i = 2 * step + row
            truth = np.asarray(Image.open(camvid / "trainannot" / f"{i:04}.png"))
            np.testing.assert_array_equal(batch["label"][row], np.where(truth == 11, 255, truth))
            picture = np.asarray(Image.open(camvid / "train" / f"{i:04}.png"))
            np.testing.assert_array_equal(batch["image"][row], picture)
    np.testing.assert_array_equal(batch["mask"], [1, 0])


def test_class_names_from_a_list_or_the_caller(camvid):
    (camvid / "classes.txt").write_text("sky\nroad\ncar\n")
    assert load(camvid, ignored=[11])[0].class_names == ("sky", "road", "car")
    names = ["a", "b", "c"]
    assert load(camvid, ignored=[11], class_names=names)[0].class_names == ("a", "b", "c")


def test_images_and_masks_are_divided_once_for_all(tmp_path):
    for i in range(20):
        save(tmp_path / "images" / f"{i}.jpg", np.full((6, 6, 3), i))
        save(tmp_path / "masks" / f"{i}.png", np.full((6, 6), i % 2))
    parts = {
        split: {pair.image.name for pair in load(tmp_path, split)[0].records.pairs}
        for split in ("train", "test", "all")
    }
    assert len(parts["test"]) == 4
    assert not parts["train"] & parts["test"]
    assert parts["train"] | parts["test"] == parts["all"]


def test_masks_as_palette_grey_bits_or_grey_saved_as_colour(tmp_path):
    mask = np.random.default_rng(0).integers(0, 2, (6, 6)).astype(np.uint8)
    palette = Image.new("P", (6, 6))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putdata(mask.ravel())
    for name, image in {
        "palette": palette,
        "grey": Image.fromarray(mask),
        "bits": Image.fromarray(mask.astype(bool)),
        "colour": Image.fromarray(np.repeat(mask[..., None], 3, -1)),
        "sixteen": Image.fromarray(mask.astype(np.uint16)),
    }.items():
        image.save(tmp_path / f"{name}.png")
        decoded = data.decode_mask((tmp_path / f"{name}.png").read_bytes())
        np.testing.assert_array_equal(decoded, mask, err_msg=name)
        assert decoded.dtype == np.uint8


def test_resizing_takes_the_nearest_class(camvid):
    _, batches = load(camvid, size=(18, 24), ignored=[11])
    _, whole = load(camvid, ignored=[11])
    for large, small in zip(batches, whole, strict=True):
        np.testing.assert_array_equal(large["label"][:, ::2, ::2], small["label"])
        np.testing.assert_array_equal(large["label"][:, 1::2, 1::2], small["label"])
        assert large["image"].shape[1:] == (18, 24, 3)


def test_a_void_picture_is_no_error(camvid):
    save(camvid / "trainannot" / "0000.png", np.full((9, 12), 11))
    batch = load(camvid, ignored=[11])[1][0]
    assert (batch["label"][0] == 255).all()
    assert batch["mask"][0] == 1


def spoiled(camvid, what):
    file = camvid / "trainannot" / "0002.png"
    if what == "size":
        save(file, np.zeros((12, 9)))
    elif what == "index":
        save(file, np.full((9, 12), 7))
    elif what == "colour":
        save(file, np.random.default_rng(0).integers(0, 3, (9, 12, 3)))
    elif what == "damaged":
        file.write_bytes(file.read_bytes()[:40])
    elif what == "missing":
        file.unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("size", r"0002\.png\) is corrupt: its mask has 9x12 pixels and its image 12x9"),
        (
            "index",
            r"0002\.png\) is corrupt: 108 pixels of its mask have a value such as 7, .* 3 cl",
        ),
        ("colour", r"0002\.png\) is corrupt: its mask is in colour: wanted a palette or grey"),
        ("damaged", r"0002\.png\) is corrupt"),
        ("missing", r"train/0002\.png has no mask: wanted 0002\.png in .*trainannot"),
    ],
)
def test_errors_name_the_file(camvid, what, message):
    spoiled(camvid, what)
    with pytest.raises(data.DataError, match=message):
        list(load(camvid, ignored=[11], class_names=["a", "b", "c"])[1])


@pytest.mark.parametrize("what", ["size", "index", "colour", "damaged"])
def test_corrupt_pairs_can_be_left_out(camvid, what):
    spoiled(camvid, what)
    options = {"ignored": [11], "class_names": ["a", "b", "c"], "skip_corrupt": True}
    _, batches = load(camvid, **options)
    assert sum(batch["mask"].sum() for batch in batches) == 4
    assert list(batches.corrupt) == [2]


def test_other_errors(tmp_path, camvid):
    with pytest.raises(data.DataError, match="there is no folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"has no split 'dev': it has 'test', 'train', 'val'"):
        load(camvid, "dev")
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(data.DataError, match=r"wanted the folders .* found pictures"):
        load(tmp_path / "other")
    save(camvid / "train" / "0000.png", np.zeros((8, 12, 3)))
    with pytest.raises(data.DataError, match="may differ in size: give one for all"):
        load(camvid, ignored=[11])


def test_oxford_pets_trimap_and_cityscapes_ids():
    pets = masks.MaskSource("", "", None, (), (1, 1, 3), values=[[2], [1], [3]], ignored=None)
    assert masks.mask_loader(pets).translation[:5] == (255, 1, 0, 2, 255)
    assert len(CITYSCAPES) == 19
    assert list(CITYSCAPES.values()) == sorted(CITYSCAPES.values())


def test_median_frequency_weights():
    """By hand: class 0 fills both pictures but for 2 pixels of class 1 in the first."""
    label = np.zeros((3, 2, 4), np.uint8)
    label[0, 0, :2] = 1
    label[1, 0, 0] = 255
    batch = {"label": label, "mask": np.array([1, 1, 0])}
    weights = data.median_frequency_weights([batch], 3)
    frequencies = np.array([(6 + 7) / (8 + 7), 2 / 8])
    np.testing.assert_allclose(weights[:2], np.median(frequencies) / frequencies)
    assert weights[2] == 0


def test_digit_scenes_by_name(tmp_path, default_data_dir, monkeypatch):
    from cnn_jax.data.readers import digit_scenes

    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 5, "test": 3})
    source = open_source("digit_scenes", "train", data_dir=str(tmp_path), holds="mask")
    assert source.class_names == digit_scenes.CLASS_NAMES
    assert source.image_shape == (64, 64, 3)
    batch = data.eval_batches(source, batch_size=5, load=masks.mask_loader(source, None))[0]
    assert batch["label"].shape == (5, 64, 64)
    assert 0 < batch["label"].max() <= 10
    with pytest.raises(data.DataError, match=r"no feature 'depth'; it has .*: say which"):
        open_source(
            "digit_scenes", "train", data_dir=str(tmp_path), mask_feature="depth", holds="mask"
        )
