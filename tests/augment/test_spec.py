"""The language of --augment."""

from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax import augment
from cnn_jax.augment import auto_augment, erase, spec

SEQUENCE_WORDS = ("roll", "stretch", "gain", "slope", "noise")


def batch():
    keys = jax.random.split(jax.random.key(0), 3)
    return keys, jax.random.uniform(jax.random.key(1), (3, 12, 12, 3))


@pytest.mark.parametrize("text", ["", "none", " none "])
def test_none_changes_nothing(text):
    keys, images = batch()
    assert augment.apply(spec.parse(text), keys, images) is not None
    np.testing.assert_array_equal(augment.apply(spec.parse(text), keys, images), images)


def test_a_specification_is_its_composition():
    keys, images = batch()
    want = augment.compose(
        partial(augment.horizontal_flip, probability=0.5),
        partial(augment.pad_and_crop, padding=4, mode="constant"),
        partial(erase.cutout, size=8),
    )
    got = spec.parse("flip, crop:4:constant,cutout:8")
    np.testing.assert_array_equal(
        augment.apply(got, keys, images), augment.apply(want, keys, images)
    )


def test_numbers_reach_their_function():
    policy = spec.parse("randaugment:3:12")
    assert policy.func is auto_augment.rand_augment
    assert policy.keywords == {"layers": 3, "magnitude": 12}
    crop = spec.parse("resized_crop:24:0.25")
    assert crop.keywords == {"size": 24, "scale": (0.25, 1.0)}


@pytest.mark.parametrize("name", spec.VOCABULARY)
def test_every_word_makes_an_augmentation(name):
    needed = {"crop": "2", "resized_crop": "12", "cutout": "4", "translate": "0.1"}
    needed |= {"roll": "2", "stretch": "0.5:2", "gain": "0.5:2"}
    text = f"{name}:{needed.get(name, '0.5')}" if name != "trivialaugment" else name
    text = "randaugment" if name == "randaugment" else text
    keys, images = batch()
    if name in SEQUENCE_WORDS:
        images = images[:, 0]  # [B, L, C]
    got = jax.eval_shape(partial(augment.apply, spec.parse(text)), keys, images)
    assert got.shape == images.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flpi", "did you mean flip"),
        ("flip,randaug:2:9", "did you mean randaugment"),
        ("qqqq", "Known: flip, vertical_flip"),
        ("crop", "crop:padding:mode=reflect"),
        ("crop:x", "padding is 'x', wanted a whole number"),
        ("crop:4:wrap", "mode is 'wrap', wanted reflect or constant"),
        ("flip:half", "probability is 'half', wanted a number"),
        ("flip:0.5:1", "2 values"),
        ("flip,,crop:4", "unknown augmentation ''"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        spec.parse(text)
