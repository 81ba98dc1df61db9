"""One map for the image, the mask and the boxes, against SciPy, NumPy and the draws written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cnn_jax.augment import IGNORE, examples, geometry, parse

H, W = 30, 44
RNG = np.random.default_rng(0)
IMAGE = ndimage.gaussian_filter(RNG.random((H, W, 3)), (2, 2, 0)).astype(np.float32)
MASK = np.kron(RNG.integers(0, 6, (5, 4)), np.ones((6, 11), int)).astype(np.uint8)
BOXES = np.array([[4, 5, 16, 21], [20, 8, 40, 27], [0, 0, 0, 0]], np.float32)
LABELS = np.array([3, 1, -1], np.int32)
WHOLE = {"image": IMAGE, "mask": MASK, "boxes": BOXES, "labels": LABELS}


def part(*names):
    return {name: jnp.asarray(WHOLE[name]) for name in names}


def warped(matrix, fill):
    """The image and the mask of WHOLE under a map about the centre, by SciPy."""
    y, x = np.mgrid[:H, :W] + 0.5
    points = np.stack([x - W / 2, y - H / 2, np.ones_like(x)]).reshape(3, -1)
    back = np.linalg.inv(np.asarray(matrix, np.float64)) @ points
    rows, columns = back[1] + H / 2 - 0.5, back[0] + W / 2 - 0.5
    image = np.stack(
        [
            ndimage.map_coordinates(
                IMAGE[..., c], [rows, columns], order=1, mode="grid-constant", cval=fill
            )
            for c in range(3)
        ],
        -1,
    )
    mask = ndimage.map_coordinates(
        MASK, [rows, columns], order=0, mode="grid-constant", cval=IGNORE
    )
    return image.reshape(H, W, 3), mask.reshape(H, W)


def matrix_by_hand(turn, shift, size, aspect=1.0, slopes=(0.0, 0.0)):
    """Shears, scales, turns counter-clockwise, moves; the y axis points down."""
    angle = np.deg2rad(turn)
    scale = np.diag([size * aspect, size / aspect, 1])
    rotation = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0],
                         [0, 0, 1]])  # fmt: skip
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    across, along = np.eye(3), np.eye(3)
    across[0, 1], along[1, 0] = np.tan(np.deg2rad(slopes))
    return move @ rotation @ scale @ along @ across


def close(ours, reference):
    np.testing.assert_allclose(ours["image"], reference[0], atol=2e-4)
    if "mask" in ours:
        assert ours["mask"].dtype == MASK.dtype
        assert (np.asarray(ours["mask"]) == reference[1]).mean() > 0.998  # but for ties


@pytest.mark.parametrize("seed", range(3))
def test_affine_of_an_image_with_a_label(seed):
    """Five numbers in -1..1 of the key itself, and the size of the key's child 1."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    ours = parse("flip:0,affine:30:0.2:0.7:1.4:shear=8")(jax.random.key(seed), part("image"))
    turn, across, down, x, y = np.asarray(jax.random.uniform(key, (5,), minval=-1, maxval=1))
    share = float(jax.random.uniform(jax.random.fold_in(key, 1)))
    size = 0.7 * (1.4 / 0.7) ** share
    close(
        ours,
        warped(
            matrix_by_hand(
                30 * turn, (0.2 * W * x, 0.2 * H * y), size, slopes=(8 * across, 8 * down)
            ),
            0.0,
        ),
    )


@pytest.mark.parametrize("seed", range(3))
def test_affine_of_an_image_with_a_mask(seed):
    """Three numbers in -1..1 of the key, and the size of its child 1."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    ours = parse("affine:30:0.2:0.7:1.4", holds="mask")(jax.random.key(seed), part("image", "mask"))
    turn, x, y = np.asarray(jax.random.uniform(key, (3,), minval=-1, maxval=1))
    share = float(jax.random.uniform(jax.random.fold_in(key, 1)))
    matrix = matrix_by_hand(30 * turn, (0.2 * W * x, 0.2 * H * y), 0.7 * 2.0**share)
    close(ours, warped(matrix, 0.0))


@pytest.mark.parametrize("seed", range(3))
def test_affine_of_an_image_with_boxes_and_a_mask(seed):
    """Four numbers in 0..1 of the key: size, aspect, shift; all three move by one map."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    augment = parse("affine:0.2:0.8:1.25:1.2", holds="boxes")
    ours = augment(jax.random.key(seed), part("image", "mask", "boxes", "labels"))
    size, aspect, x, y = np.asarray(jax.random.uniform(key, (4,)), np.float64)
    matrix = matrix_by_hand(
        0,
        (0.2 * W * (2 * x - 1), 0.2 * H * (2 * y - 1)),
        0.8 * (1.25 / 0.8) ** size,
        1.2 ** (aspect - 0.5),
    )
    close(ours, warped(matrix, examples.GREY))
    corners = np.concatenate([BOXES[:, :2], BOXES[:, 2:]]) - [W / 2, H / 2]
    moved = (np.c_[corners, np.ones(6)] @ matrix.T)[:, :2] + [W / 2, H / 2]
    cut = np.clip(moved, 0, [W, H])
    np.testing.assert_allclose(ours["boxes"], np.c_[cut[:3], cut[3:]], atol=1e-3)
    areas = [np.prod(ends[3:] - ends[:3], axis=1) for ends in (cut, moved)]
    visible = (areas[0] >= 0.5 * areas[1]) & (areas[0] > 0)
    np.testing.assert_array_equal(ours["labels"], np.where(visible, LABELS, -1))


def test_a_turn_moves_a_mask_with_its_image_and_is_refused_beside_boxes():
    matrix = geometry.rotation(25.0)
    close(examples.warp(part("image", "mask"), matrix), warped(matrix, 0.0))
    with pytest.raises(ValueError, match="'rotate' is for images with a label or a mask"):
        parse("rotate:10", holds="boxes")
    with pytest.raises(ValueError, match="it is written affine:translate"):
        parse("affine:degrees=10", holds="boxes")


@pytest.mark.parametrize(("axis", "ends"), [(-1, (2, 1, 0, 3)), (0, (0, 3, 2, 1))])
def test_a_mirror_is_that_of_numpy(axis, ends):
    ours = examples.mirror(part(*WHOLE), axis=axis, when=jnp.array(True))
    np.testing.assert_array_equal(ours["image"], np.flip(IMAGE, 1 if axis else 0))
    np.testing.assert_array_equal(ours["mask"], np.flip(MASK, axis))
    turned = BOXES[:, ends].copy()
    turned[:, [0, 2] if axis else [1, 3]] = (W if axis else H) - turned[
        :, [0, 2] if axis else [1, 3]
    ]
    np.testing.assert_array_equal(ours["boxes"], turned)
    same = examples.mirror(part(*WHOLE), axis=axis, when=jnp.array(False))
    for name, array in WHOLE.items():
        np.testing.assert_array_equal(same[name], array)


def test_padding_and_cutting_are_those_of_numpy():
    padded = examples.pad(part(*WHOLE), [(2, 3), (4, 5)])
    want = np.pad(IMAGE, [(2, 3), (4, 5), (0, 0)], constant_values=examples.GREY)
    np.testing.assert_array_equal(padded["image"], want)
    mask = np.pad(MASK, [(2, 3), (4, 5)], constant_values=IGNORE)
    np.testing.assert_array_equal(padded["mask"], mask)
    np.testing.assert_array_equal(padded["boxes"], BOXES + np.array([4, 2, 4, 2]))
    cut = examples.cut(padded, (5, 7), (20, 16))
    np.testing.assert_array_equal(cut["image"], want[5:25, 7:23])
    np.testing.assert_array_equal(cut["mask"], mask[5:25, 7:23])
    np.testing.assert_array_equal(cut["boxes"], BOXES - 3)


def test_a_window_resized_shows_the_same_of_all():
    """Twice as large: every pixel of the window is four, and boxes have twice their sides."""
    window = examples.resize(part(*WHOLE), jnp.array([6, 11]), jnp.array([12, 22]), (24, 44))
    doubled = MASK[6:18, 11:33].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(window["mask"], doubled)
    np.testing.assert_allclose(window["boxes"], (BOXES - [11, 6, 11, 6]) * 2)
    assert window["image"].shape == (24, 44, 3)


@pytest.mark.parametrize(
    "text", ["crop:20:24", "crop:40:60", "resized_crop:32:0.4", "scaled_crop:0.7:1.3:24:36"]
)
def test_crops_move_boxes_as_they_move_a_mask_of_them(text):
    """What shows the class of an object lies within its box, and touches all its sides."""
    mask = np.zeros((H, W), np.uint8)
    for value, (left, top, right, bottom) in enumerate(BOXES[:2].astype(int), 1):
        mask[top:bottom, left:right] = value
    start = {**part("image", "boxes", "labels"), "mask": jnp.asarray(mask)}
    augment = jax.jit(parse(text, holds="boxes"))
    seen = 0
    for seed in range(8):
        ours = augment(jax.random.key(seed), start)
        assert ours["mask"].shape == ours["image"].shape[:2]
        for i in range(2):
            rows, columns = np.nonzero(np.asarray(ours["mask"]) == i + 1)
            if ours["labels"][i] < 0 or not len(rows):
                continue
            shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(ours["boxes"][i], shown, atol=1.01)
            seen += 1
    assert seen > 4


def test_shapes_that_do_not_belong_together_are_refused():
    augment = parse("flip", holds="mask")
    with pytest.raises(AssertionError, match="shape"):
        augment(jax.random.key(0), {**part("image"), "mask": jnp.zeros((H, W + 1), jnp.uint8)})
    with pytest.raises(AssertionError, match="shape"):
        parse("", holds="boxes")(
            jax.random.key(0), {**part("image", "boxes"), "labels": LABELS[:1]}
        )
