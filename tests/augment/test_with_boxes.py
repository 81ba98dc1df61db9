"""Boxes move with the picture: what a box is drawn around must still be inside, and fill it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import with_boxes

HEIGHT, WIDTH = 40, 56
BOXES = np.array([[6, 5, 20, 17], [30, 8, 50, 30], [10, 24, 22, 36], [0, 0, 0, 0]], np.float32)
LABELS = np.array([2, 0, 1, -1], np.int32)


def example():
    """Black, with every object a full rectangle in a colour of its own; the last is padding."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for i, (left, top, right, bottom) in enumerate(BOXES[:3].astype(int)):
        image[top:bottom, left:right, i] = 1
    return jnp.asarray(image), jnp.asarray(BOXES), jnp.asarray(LABELS)


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
        ("ssd_crop:0.5,flip", 1),
        ("colour:0.2,flip", 0),
    ],
)
def test_boxes_stay_around_their_objects(specification, pixels):
    augment = jax.jit(with_boxes.parse(specification))
    checked = changed = 0
    for seed in range(12):
        image, boxes, labels = augment(jax.random.key(seed), *example())
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert labels[3] == -1
        # beyond the border the picture is grey, which is half of any colour
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
        augment = with_boxes.parse(word)
        once = augment(jax.random.key(0), *start)
        twice = augment(jax.random.key(1), *once)
        for ours, original in zip(twice, start, strict=True):
            real = slice(None) if ours.ndim == 3 else slice(3)
            np.testing.assert_array_equal(ours[real], original[real])
    mirrored = with_boxes.parse("flip:1")(jax.random.key(0), *start)[1]
    np.testing.assert_array_equal(mirrored[0], [WIDTH - 20, 5, WIDTH - 6, 17])


def test_what_leaves_the_picture_by_more_than_half_loses_its_label():
    boxes = jnp.array([[-6, 0, 4, 10], [-4, 0, 6, 10], [-20, 0, -10, 10], [0, 0, 0, 5]], float)
    cut, labels = with_boxes.keep_visible(boxes, jnp.arange(4), (20, 20, 3))
    assert labels.tolist() == [-1, 1, -1, -1]
    np.testing.assert_array_equal(cut[1], [0, 0, 6, 10])


def test_ssd_crop_keeps_objects_whose_centre_is_inside():
    augment = jax.jit(with_boxes.parse("ssd_crop"))
    kept = []
    for seed in range(40):
        _, boxes, labels = augment(jax.random.key(seed), *example())
        present = np.asarray(labels) >= 0
        assert present.any()  # a crop without an object is none
        sides = np.asarray(boxes)[present, 2:] - np.asarray(boxes)[present, :2]
        assert (sides > 0).all()
        kept.append(present.sum())
    assert min(kept) < 3
    assert max(kept) == 3


def mosaic_batch(rng, size=8, capacity=3):
    boxes = np.zeros((size, capacity, 4), np.float32)
    labels = np.full((size, capacity), -1, np.int32)
    for i in range(size):
        for j in range(rng.integers(0, capacity + 1)):
            left, top = rng.integers(0, 20, 2)
            width, height = rng.integers(2, 12, 2)
            boxes[i, j] = left, top, left + width, top + height
            labels[i, j] = rng.integers(0, 5)
    image = rng.random((size, 32, 32, 3)).astype(np.float32)
    return {"image": image, "boxes": boxes, "labels": labels, "mask": np.ones(size, np.float32)}


def mosaic_by_hand(batch, capacity):
    """Pictures, and of each the set of its objects, by loops."""
    images, objects = [], []
    for i in range(len(batch["image"])):
        canvas, found = np.zeros((32, 32, 3), np.float32), []
        group = i - i % 4
        for quarter in range(4):
            source = group + (i % 4 ^ quarter)
            x, y = 16 * (quarter % 2), 16 * (quarter // 2)
            for row in range(16):
                for column in range(16):
                    block = batch["image"][
                        source, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2
                    ]
                    canvas[y + row, x + column] = block.mean((0, 1))
            for box, label in zip(batch["boxes"][source], batch["labels"][source], strict=True):
                if label >= 0:
                    found.append((*(box / 2 + [x, y, x, y]), int(label)))
        found.sort(key=lambda one: -(one[2] - one[0]) * (one[3] - one[1]))
        images.append(canvas)
        objects.append(found[:capacity])
    return images, objects


def test_mosaic_is_what_loops_make_of_it():
    batch = mosaic_batch(np.random.default_rng(0))
    keys = jax.random.split(jax.random.key(0), 8)
    mixed = jax.jit(lambda k, b: with_boxes.mosaic(k, b, probability=1.0))(keys, batch)
    images, objects = mosaic_by_hand(batch, 3)
    for i in range(8):
        np.testing.assert_allclose(mixed["image"][i], images[i], atol=1e-6)
        ours = {
            (*box.tolist(), int(label))
            for box, label in zip(mixed["boxes"][i], mixed["labels"][i], strict=True)
            if label >= 0
        }
        areas = sorted((b[2] - b[0]) * (b[3] - b[1]) for b in ours)
        assert areas == sorted((b[2] - b[0]) * (b[3] - b[1]) for b in objects[i])
        everything = {one for found in mosaic_by_hand(batch, 99)[1][i : i + 1] for one in found}
        assert ours <= everything


def test_mosaic_of_none_is_no_change_and_its_share_is_kept():
    batch = mosaic_batch(np.random.default_rng(1), size=200)
    keys = jax.random.split(jax.random.key(3), 200)
    same = with_boxes.mosaic(keys, batch, probability=0.0)
    np.testing.assert_array_equal(same["image"], batch["image"])
    np.testing.assert_array_equal(same["labels"], batch["labels"])
    half = np.asarray(with_boxes.mosaic(keys, batch, probability=0.5)["image"])
    changed = (half != batch["image"]).any((1, 2, 3)).reshape(-1, 4)
    assert (changed == changed[:, :1]).all()  # four at a time
    assert 0.3 < changed.mean() < 0.7


def test_mosaic_wants_groups_of_four():
    batch = mosaic_batch(np.random.default_rng(0), size=6)
    with pytest.raises(ValueError, match="got 6 pictures of 32x32; it wants a multiple of four"):
        with_boxes.mosaic(jax.random.split(jax.random.key(0), 6), batch, probability=1.0)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("flap", "'flap'; did you mean flip"),
        ("rotate:10", "unknown augmentation of picture and boxes 'rotate'"),
        ("flip:often", "probability is 'often', wanted a number"),
        ("flip:1:2", "2 values, but it is written flip:probability"),
    ],
)
def test_mistakes(specification, message):
    with pytest.raises(ValueError, match=message):
        with_boxes.parse(specification)
