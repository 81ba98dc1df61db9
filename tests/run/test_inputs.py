"""Images as a caller has them, and what a network is shown of them."""

import io

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, run
from cnn_jax.run import classification, inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of two classes: images of several sizes and formats, one lying on its side."""
    where, rng = tmp_path_factory.mktemp("folder"), np.random.default_rng(0)
    sizes = [(40, 60, "png"), (97, 33, "jpg"), (200, 260, "jpg"), (24, 24, "png")]
    for name in ("a", "b"):
        (where / "test" / name).mkdir(parents=True)
        for i, (height, width, suffix) in enumerate(sizes):
            pixels = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
            image = Image.fromarray(pixels).resize((width, height))
            exif = image.getexif()
            exif[0x0112] = 6 if i == 1 else 1
            image.save(where / "test" / name / f"{i}.{suffix}", exif=exif)
    return where


def made(folder, **changes):
    """A predictor that has learnt nothing, the batch of an evaluation, and its files."""
    recipe = run.Recipe(dataset=f"folder:{folder}", batch_size=8, **changes)
    source = classification.open_split(recipe, "test")
    channels = source.image_shape[-1]
    facts = run.Facts(
        task="classification",
        num_classes=2,
        class_names=("a", "b"),
        image_shape=(recipe.image_size, recipe.image_size, channels),
        mean=(0.4,) * channels,
        std=(0.2,) * channels,
    )
    predictor = run.ClassPredictor(model=None, variables={}, facts=facts, recipe=recipe)
    held = classification.held_out(recipe, facts, None, source)
    batch = held.prepare(dict(next(iter(held.batches()))))
    paths = [source[index]["image"] for index in range(len(source))]
    return predictor, np.asarray(batch["image"]), paths


@pytest.mark.parametrize("crop", ["random_resized", "center", "whole"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_is_shown_what_an_evaluation_shows_it(folder, crop, channels):
    predictor, evaluated, paths = made(folder, image_size=24, crop=crop, channels=channels)
    assert len(evaluated) == len(paths)
    for path, shown in zip(paths, evaluated, strict=True):
        data = path.read_bytes()
        for given in (path, str(path), data, io.BytesIO(data)):
            np.testing.assert_allclose(predictor.preprocess(given), shown, atol=1e-5)
        if path.suffix == ".png":
            image = Image.open(path)
            for given in (image, np.asarray(image)):
                np.testing.assert_allclose(predictor.preprocess(given), shown, atol=1e-5)


def test_boxes_are_looked_for_in_what_an_evaluation_shows():
    from cnn_jax.run import detect
    from cnn_jax.typing import Detections

    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    facts = run.Facts(
        task="detection", num_classes=1, class_names=("a",), image_shape=(32, 40, 1), mean=(0.5,),
        std=(0.2,), fit="letterbox",
    )  # fmt: skip
    seen = []

    def network(images):
        seen.append(images[0])
        return Detections(np.zeros((1, 1, 4)), np.zeros((1, 1)), np.full((1, 1), -1))

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    pixels = data.decode_image(buffer.getvalue(), channels=1)
    for given in (buffer.getvalue(), pixels):
        detect.find(network, given, facts, threshold=0.5)
    assert seen[0].shape == (32, 40, 1)
    np.testing.assert_array_equal(*seen)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"threshold=.*: it must be in \[0, 1\]"):
            detect.find(network, image, facts, threshold=threshold)


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
MODES = ("L", "LA", "P", "RGB", "RGBA", "CMYK", "RGBX", "YCbCr")
SAME = {mode: Image.fromarray(GREY).convert(mode) for mode in MODES}
SAME["PA"] = SAME["P"].convert("PA")  # of RGBA older versions of Pillow make six greys
SAME["La"], SAME["RGBa"] = SAME["LA"].convert("La"), SAME["RGBA"].convert("RGBa")
SAME["I;16"] = Image.fromarray(GREY.astype(np.uint16) * 256)


@pytest.mark.parametrize("mode", SAME)
def test_images_of_pillow_in_every_mode(mode):
    assert SAME[mode].mode == mode
    np.testing.assert_array_equal(inputs.pixels_of(SAME[mode], 1)[..., 0], GREY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GREY / 255, r"array of float64; wanted uint8.* it is \(255"),
        (GREY.astype(np.int64), r"array of int64; wanted uint8, pixels in 0\.\.255\.$"),
        (GREY > 9, "array of bool"),
        (np.full((8, 8), np.nan), "array of float64"),
        (np.stack([GREY] * 3), r"shape \(3, 8, 8\).* Channels come last"),
        (np.stack([GREY] * 4, -1), r"shape \(8, 8, 4\).* alpha"),
        (np.stack([GREY] * 5), r"shape \(5, 8, 8\).* \(number, height, width, channels\)"),
        (np.ma.masked_array(GREY, GREY > 3), "masked pixels"),
        (GREY[0], r"shape \(8,\)"),
        (iter([GREY]), r"given as list_iterator; wanted a path, .* list\(\.\.\.\)"),
        ({"image": GREY}, "given as dict; wanted a path"),
        (None, "given as NoneType; wanted a path"),
        (3, "given as int; wanted a path"),
        ("", "There is no image ''"),
        ("a\0b", "There is no image"),
        (io.BytesIO(), "nothing left to read"),
        (io.StringIO("x"), "opened as text"),
        (b"text", "cannot be read as an image"),
        (Image.new("I", (8, 8), 70_000), "32-bit pixels from 70000 to 70000"),
        (Image.new("I", (8, 8), -1), "32-bit pixels from -1 to -1"),
        (Image.new("F", (8, 8)), "floating-point pixels"),
        (Image.new("L", (0, 8)), "0x8 pixels"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(given, message):
    with pytest.raises(ValueError, match=message) as error:
        inputs.pixels_of(given, 1)
    assert "\n" not in str(error.value)


def test_an_image_of_several_is_named():
    facts = run.Facts(task="classification", image_shape=(8, 8, 1), mean=(0.5,), std=(0.5,))
    predictor = run.ClassPredictor(model=None, variables={}, facts=facts)
    with pytest.raises(ValueError, match=r"^images\[0\]: There is no image none\.png"):
        predictor.predict(["none.png", GREY])


def test_what_is_closed_is_refused(folder):
    image = Image.open(folder / "test" / "a" / "0.png")
    image.close()
    with pytest.raises(ValueError, match="The image cannot be read as an image"):
        inputs.pixels_of(image, 3)
