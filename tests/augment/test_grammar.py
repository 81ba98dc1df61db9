"""The one grammar of augmentations, for labels, masks and boxes, and steps that users add."""

import re
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import augment
from cnn_jax.augment import STEPS, crops, erase, parse, place

SEQUENCE_WORDS = ("roll", "stretch", "gain", "slope", "noise")
# What has no default, as it is written.
NEEDED = {"resized_crop": "12", "scaled_crop": "0.5:2:12", "cutout": "4", "translate": "0.1"}
NEEDED |= {"roll": "2", "stretch": "0.5:2", "gain": "0.5:2", "scale": "0.5:2", "randaugment": "2:9"}
PLAIN = ("trivialaugment", "ssd_crop", "affine")


def batch(holds="label"):
    keys = jax.random.split(jax.random.key(0), 3)
    examples = {"image": jax.random.uniform(jax.random.key(1), (3, 12, 12, 3))}
    if holds == "mask":
        examples["mask"] = jax.random.randint(jax.random.key(2), (3, 12, 12), 0, 5, jnp.uint8)
    if holds == "boxes":
        boxes = [[1, 2, 7, 9], [4, 3, 11, 10]]
        examples["boxes"] = jnp.tile(jnp.array(boxes, jnp.float32), (3, 1, 1))
        examples["labels"] = jnp.tile(jnp.array([1, -1], jnp.int32), (3, 1))
    return keys, examples


def program(text, keys, examples, holds="label"):
    """What an augmentation computes, with all its numbers."""
    return str(jax.make_jaxpr(partial(augment.apply, parse(text, holds=holds)))(keys, examples))


@pytest.mark.parametrize("holds", augment.HOLDS)
@pytest.mark.parametrize("text", ["", "none", " none "])
def test_none_changes_nothing(text, holds):
    keys, examples = batch(holds)
    changed = augment.apply(parse(text, holds=holds), keys, examples)
    assert changed.keys() == examples.keys()
    for name, array in examples.items():
        np.testing.assert_array_equal(changed[name], array)


def test_a_text_is_its_steps_each_under_a_key_of_its_own():
    keys, examples = batch()
    got = augment.apply(parse("flip, crop:4:constant,cutout:8"), keys, examples)
    for i, key in enumerate(keys):
        image = examples["image"][i]
        image = place.flip(jax.random.fold_in(key, 0), {"image": image})["image"]
        image = crops.pad_and_crop(jax.random.fold_in(key, 1), image, padding=4, mode="constant")
        image = erase.cutout(jax.random.fold_in(key, 2), image, size=8)
        np.testing.assert_array_equal(got["image"][i], image)
    alone = augment.apply(parse("cutout:8"), keys, examples)  # draws from the key itself
    np.testing.assert_array_equal(
        alone["image"][0], erase.cutout(keys[0], examples["image"][0], size=8)
    )


# Texts that flagfiles, recipes and runs have had, and the same with every number named.
EARLIER = [
    ("label", "affine:10:0.1:0.9:1.1", "affine:degrees=10:translate=0.1:smallest=0.9:largest=1.1"),
    ("label", "flip,crop:2", "flip:probability=0.5,crop:padding=2:mode=reflect"),
    ("label", "flip,crop:4:constant", "flip,crop:mode=constant:padding=4"),
    ("label", "flip,crop:4:reflect", "flip,crop:4"),
    ("label", "flip,crop:4,cutout:8", "flip,crop:4,cutout:size=8:fill=0.5"),
    ("label", "flip,randaugment:2:7", "flip,randaugment:magnitude=7:layers=2"),
    ("label", "noise:0.1", "noise:deviation=0.1"),
    ("label", "rotate:10", "affine:10"),
    ("mask", "affine:10:0.1:0.8:1.2,colour:0.2",
     "affine:10:0.1:largest=1.2:smallest=0.8,colour:0.2"),
    ("mask", "flip,scaled_crop:0.8:1.2:8:6", "flip,scaled_crop:0.8:1.2:width=6:height=8"),
    ("mask", "flip,scaled_crop:0.75:2:10,colour:0.3:0.3:0.3",
     "flip,scaled_crop:0.75:2:10:10,colour:0.3:0.3:0.3"),
    ("mask", "flip,affine:10:0.1:0.8:1.25,crop:8", "flip,affine:10:0.1:0.8:1.25,crop:8:8"),
    ("mask", "none,flip,,colour:0.2", "flip,colour:brightness=0.2"),
    ("boxes", "affine:0.1:0.8:1.25:1.1,colour:0.2",
     "affine:translate=0.1:smallest=0.8:largest=1.25:stretch=1.1,colour:0.2"),
    ("boxes", "flip,vertical_flip,affine:0.1:0.8:1.25:1.1,colour:0.2",
     "flip,vertical_flip,affine:0.1:0.8:1.25:stretch=1.1,colour:0.2"),
    ("boxes", "flip,affine:0.1:0.9:1.1", "flip,affine:0.1:0.9:1.1:1"),
    ("boxes", "ssd_crop", "ssd_crop:0.3:20"),
]  # fmt: skip


@pytest.mark.parametrize(("holds", "text", "named"), EARLIER)
def test_texts_of_earlier_versions_keep_their_meaning(holds, text, named):
    assert program(text, *batch(holds), holds) == program(named, *batch(holds), holds)
    assert program(text, *batch(holds), holds) != program("flip:0.25", *batch(holds), holds)


def test_words_of_sequences_keep_their_meaning():
    keys = jax.random.split(jax.random.key(0), 3)
    x = {"image": jax.random.normal(jax.random.key(1), (3, 40, 1))}
    text = "roll:20,stretch:0.9:1.1,gain:0.8:1.25,slope:0.5,noise:0.1"
    named = "roll:steps=20,stretch:largest=1.1:smallest=0.9,gain:0.8:1.25,slope:0.5,noise:0.1"
    assert program(text, keys, x) == program(named, keys, x)


RECIPES = sorted(Path(__file__).parents[2].glob("experiments/recipes/*.flags"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipes_are_read(file):
    text = file.read_text()
    task = re.search(r"experiments\.(classification|segmentation|detection)", text)
    holds = {"classification": "label", "segmentation": "mask", "detection": "boxes"}[task[1]]
    for written in re.findall(r"^--augment=(.*)$", text, re.MULTILINE):
        if written != "auto":
            parse(written, holds=holds)


EVERY = [(holds, name) for holds, steps in STEPS.items() for name in steps]


@pytest.mark.parametrize(("holds", "name"), EVERY)
def test_every_word_makes_an_augmentation(holds, name):
    needed = NEEDED | {"crop": "2" if holds == "label" else "12"}
    text = name if name in PLAIN else f"{name}:{needed.get(name, '0.5')}"
    keys, examples = batch(holds)
    if name in SEQUENCE_WORDS:
        examples = {"image": examples["image"][:, 0]}  # [B, L, C]
    got = jax.eval_shape(partial(augment.apply, parse(text, holds=holds)), keys, examples)
    assert {k: (v.shape, v.dtype) for k, v in got.items()} == {
        k: (v.shape, v.dtype) for k, v in examples.items()
    }


@pytest.mark.parametrize("holds", augment.HOLDS)
def test_every_word_has_a_line_that_says_how_it_is_written(holds):
    lines = augment.usage(holds)
    assert len(lines) == len(STEPS[holds])
    for line, name in zip(lines, STEPS[holds], strict=True):
        written, _, said = line.partition("  ")
        assert written.split(":")[0] == name
        assert said.endswith(".")
        assert "\n" not in line


@pytest.mark.parametrize(
    ("holds", "text", "message"),
    [
        ("label", "flpi", "did you mean flip"),
        ("label", "flip,randaug:2:9", "did you mean randaugment"),
        ("label", "qqqq", "flip, vertical_flip, crop"),
        ("label", "crop", "0 values, but it is written crop:padding:mode=reflect"),
        ("label", "crop:x", "padding is 'x', wanted a whole number"),
        ("label", "crop:4:wrap", "mode is 'wrap', wanted reflect or constant"),
        ("label", "flip:half", "probability is 'half', wanted a number"),
        ("label", "flip:nan", "probability is 'nan', wanted a number"),
        ("label", "flip:2", "probability is 2, wanted 0 to 1"),
        ("label", "flip:0.5:1", "2 values"),
        ("label", "flip,,flop", "did you mean flip"),
        ("label", "flip:chance=0.5", "it is written flip:probability"),
        ("label", "crop:4:padding=4", "it is written crop:padding"),
        ("label", "ssd_crop", "'ssd_crop' is for images with boxes, and needs them"),
        ("mask", "flop", "did you mean flip"),
        ("mask", "rotate", r"'rotate': 0 values, but it is written rotate:degrees"),
        ("mask", "crop:x", "height is 'x', wanted a whole number"),
        ("mask", "mixup:1", "no augmentation of images with a mask 'mixup'"),
        ("mask", "randaugment", "is for images with a label, and does not say how it moves others"),
        ("boxes", "flap", "'flap'; did you mean flip"),
        ("boxes", "rotate:10", "'rotate' is for images with a label or a mask"),
        ("boxes", "flip:often", "probability is 'often', wanted a number"),
        ("boxes", "flip:1:2", "2 values, but it is written flip:probability"),
        ("keypoints", "flip", "hold a label, mask or boxes, not 'keypoints'"),
    ],
)
def test_mistakes_are_named(holds, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, holds=holds)


@pytest.fixture
def steps(monkeypatch):
    """Steps that are registered in a test are gone after it."""
    for registry in STEPS.values():
        for part in ("_values", "_origins"):
            monkeypatch.setattr(registry, part, dict(getattr(registry, part)))


def invert(key, image, *, probability: float = 1.0, above: float = 0.0):
    """Inverts what is bright enough."""
    chosen = jax.random.bernoulli(key, probability) & (image >= above)
    return jnp.where(chosen, 1 - image, image)


def transpose(key, example, *, corner: Literal["upper", "lower"] = "upper"):
    """Swaps rows and columns."""
    moved = {name: jnp.swapaxes(example[name], 0, 1) for name in ("image", "mask")
             if name in example}  # fmt: skip
    return {**example, **moved}


def test_a_users_step_leaves_every_pixel_in_its_place(steps):
    augment.register("invert", invert, holds=augment.HOLDS)
    for holds in augment.HOLDS:
        keys, examples = batch(holds)
        got = augment.apply(parse("invert:1:0.25", holds=holds), keys, examples)
        image = np.asarray(examples.pop("image"))
        np.testing.assert_allclose(
            got["image"], np.where(image >= 0.25, 1 - image, image), rtol=1e-6
        )
        for name, array in examples.items():
            np.testing.assert_array_equal(got[name], array)
        assert (
            f"invert:probability=1.0:above=0.0  Inverts what is bright enough.  ({__name__})"
            in (augment.usage(holds))
        )


def test_a_users_step_that_moves_pixels_says_how_it_moves_the_rest(steps):
    augment.register("swap", transpose, holds=("label", "mask"))
    keys, examples = batch("mask")
    got = augment.apply(parse("swap:upper", holds="mask"), keys, examples)
    for name, array in examples.items():
        np.testing.assert_array_equal(got[name], np.swapaxes(array, 1, 2))
    message = "'swap' is for images with a label or a mask, and does not say how it moves others"
    with pytest.raises(ValueError, match=message):
        parse("flip,swap", holds="boxes")
    augment.register("blend", invert)  # for images alone, unless it says more
    with pytest.raises(ValueError, match="'blend' is for images with a label"):
        parse("blend", holds="mask")


def test_what_cannot_be_registered(steps):
    augment.register("invert", invert)
    with pytest.raises(ValueError, match=f"registered twice: by {__name__} and by {__name__}"):
        augment.register("invert", invert)
    with pytest.raises(ValueError, match=r"registered twice: by cnn_jax\.augment\.vocabulary"):
        augment.register("flip", invert, holds=("mask",))
    for name in ("in-vert", "", "a:b", "1st"):
        with pytest.raises(ValueError, match="must be one word"):
            augment.register(name, invert)
    with pytest.raises(ValueError, match="choose from"):
        augment.register("other", invert, holds=("keypoints",))
    with pytest.raises(ValueError, match=r"takes \(key, image"):
        augment.register("other", lambda image: image)
    with pytest.raises(ValueError, match="table has no default, and cannot be written"):
        augment.register("other", lambda key, image, *, table: image)


def test_the_draws_have_a_version():
    assert augment.DRAWS == 1
