"""Boxes move with their image: what a box is drawn around must still be inside, and fill it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import examples, parse

HEIGHT, WIDTH = 40, 56
BOXES = np.array([[6, 5, 20, 17], [30, 8, 50, 30], [10, 24, 22, 36], [0, 0, 0, 0]], np.float32)
LABELS = np.array([2, 0, 1, -1], np.int32)


def example():
    """Black, with every object a full rectangle in a colour of its own; the last is padding."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for i, (left, top, right, bottom) in enumerate(BOXES[:3].astype(int)):
        image[top:bottom, left:right, i] = 1
    return {
        "image": jnp.asarray(image),
        "boxes": jnp.asarray(BOXES),
        "labels": jnp.asarray(LABELS),
    }


def augmentation(text):
    """(key, example) -> image, boxes, labels."""
    parsed = parse(text, holds="boxes")

    def augment(key, example):
        moved = parsed(key, example)
        return moved["image"], moved["boxes"], moved["labels"]

    return augment


def seen(image, channel):
    """The box around what a channel shows, to a fraction of a pixel: the edges are blurred."""
    shown = np.clip(np.asarray(image)[..., channel], 0, 1)
    bounds = []
    for profile in (shown.max(0), shown.max(1)):  # along x, along y
        inside = np.flatnonzero(profile > 0.5)
        low, high = inside[0], inside[-1] + 1
        bounds.append((low, high))
    (left, right), (top, bottom) = bounds
    return np.array([left, top, right, bottom], float)


@pytest.mark.parametrize(
    ("specification", "pixels"),
    [
        ("flip:1", 0),
        ("vertical_flip:1", 0),
        ("affine:0.15", 1),
        ("affine:0:0.6:1.6", 1),
        ("affine:0.1:0.7:1.4:1.3", 1),
        ("translate:0.2", 1),
        ("scale:0.7:1.5", 1),
        ("ssd_crop:0.5,flip", 1),
        ("colour:0.2,flip", 0),
    ],
)
def test_boxes_stay_around_their_objects(specification, pixels):
    augment = jax.jit(augmentation(specification))
    checked = changed = 0
    for seed in range(12):
        image, boxes, labels = augment(jax.random.key(seed), example())
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert labels[3] == -1
        # beyond the border the image is grey, which is half of any colour
        shown = image - 0.49 if "colour" not in specification else image - image.min()
        for i in range(3):
            if labels[i] < 0:
                continue
            assert labels[i] == LABELS[i]
            assert (boxes[i] >= 0).all()
            assert (boxes[i] <= np.array([WIDTH, HEIGHT] * 2)).all()
            if "colour" in specification:
                continue
            np.testing.assert_allclose(boxes[i], seen(shown * 2, i), atol=pixels + 1e-3)
            checked += 1
            changed += bool(np.abs(boxes[i] - BOXES[i]).max() > 1)
    assert checked > 20 or "colour" in specification
    assert changed > 6 or "colour" in specification


def test_flips_are_exact_and_their_own_inverse():
    start = example()
    for word in ("flip:1", "vertical_flip:1"):
        augment = parse(word, holds="boxes")
        twice = augment(jax.random.key(1), augment(jax.random.key(0), start))
        for name, original in start.items():
            real = slice(None) if name == "image" else slice(3)
            np.testing.assert_array_equal(twice[name][real], original[real])
    mirrored = parse("flip:1", holds="boxes")(jax.random.key(0), start)["boxes"]
    np.testing.assert_array_equal(mirrored[0], [WIDTH - 20, 5, WIDTH - 6, 17])


def test_what_leaves_the_image_by_more_than_half_loses_its_label():
    boxes = jnp.array([[-6, 0, 4, 10], [-4, 0, 6, 10], [-20, 0, -10, 10], [0, 0, 0, 5]], float)
    image = jnp.zeros((20, 20, 3))
    kept = examples.keep_visible({"image": image, "boxes": boxes, "labels": jnp.arange(4)})
    assert kept["labels"].tolist() == [-1, 1, -1, -1]
    np.testing.assert_array_equal(kept["boxes"][1], [0, 0, 6, 10])


def test_ssd_crop_keeps_objects_whose_centre_is_inside():
    augment = jax.jit(augmentation("ssd_crop"))
    kept = []
    for seed in range(40):
        _, boxes, labels = augment(jax.random.key(seed), example())
        present = np.asarray(labels) >= 0
        assert present.any()  # a crop without an object is none
        sides = np.asarray(boxes)[present, 2:] - np.asarray(boxes)[present, :2]
        assert (sides > 0).all()
        kept.append(present.sum())
    assert min(kept) < 3
    assert max(kept) == 3
