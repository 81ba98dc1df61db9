"""Mosaics of four images, against loops."""

import jax
import numpy as np
import pytest

from cnn_jax import augment


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
    """Images, and of each the set of its objects, by loops."""
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
    mixed = jax.jit(lambda k, b: augment.mosaic(k, b, probability=1.0))(keys, batch)
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
    same = augment.mosaic(keys, batch, probability=0.0)
    np.testing.assert_array_equal(same["image"], batch["image"])
    np.testing.assert_array_equal(same["labels"], batch["labels"])
    half = np.asarray(augment.mosaic(keys, batch, probability=0.5)["image"])
    changed = (half != batch["image"]).any((1, 2, 3)).reshape(-1, 4)
    assert (changed == changed[:, :1]).all()  # four at a time
    assert 0.3 < changed.mean() < 0.7


def test_mosaic_wants_groups_of_four():
    batch = mosaic_batch(np.random.default_rng(0), size=6)
    with pytest.raises(ValueError, match="got 6 images of 32x32; it wants a multiple of four"):
        augment.mosaic(jax.random.split(jax.random.key(0), 6), batch, probability=1.0)
