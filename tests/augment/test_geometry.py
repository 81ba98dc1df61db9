"""Affine maps, warps and resized crops against Pillow (always) and torchvision (if installed)."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnn_jax.augment import geometry


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def point(matrix, x, y):
    return np.asarray(matrix @ jnp.array([x, y, 1.0]))[:2]


def test_maps_move_points_as_their_names_say():
    # y points down: turning counter-clockwise by 90 degrees sends the right to the top.
    np.testing.assert_allclose(point(geometry.rotation(90), 1, 0), [0, -1], atol=1e-6)
    np.testing.assert_allclose(point(geometry.scaling(2, 3), 1, 1), [2, 3])
    np.testing.assert_allclose(point(geometry.shear(x=0.5), 1, 2), [2, 2])
    np.testing.assert_allclose(point(geometry.shear(y=0.5), 1, 2), [1, 2.5])
    np.testing.assert_allclose(point(geometry.translation(3, -4), 1, 1), [4, -3])


def test_compose_applies_the_first_map_first_and_inverse_undoes():
    maps = [geometry.translation(2, 1), geometry.rotation(30), geometry.shear(0.2, -0.1)]
    both = geometry.compose(*maps)
    step_by_step = np.array([0.5, -1.0])
    for matrix in maps:
        step_by_step = point(matrix, *step_by_step)
    np.testing.assert_allclose(point(both, 0.5, -1.0), step_by_step, rtol=1e-5)
    np.testing.assert_allclose(geometry.compose(both, geometry.inverse(both)), np.eye(3), atol=1e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_exact(turns, interpolation):
    image = noise(7, 7, 3)
    got = geometry.warp(image, geometry.rotation(90 * turns), interpolation=interpolation)
    np.testing.assert_allclose(got, np.rot90(image, turns), atol=1e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_translation_moves_right_and_down_and_fills_per_channel(interpolation):
    image, fill = noise(6, 8, 3), (0.1, 0.2, 0.3)
    got = geometry.warp(image, geometry.translation(2, 1), interpolation=interpolation, fill=fill)
    want = np.broadcast_to(np.float32(fill), (6, 8, 3)).copy()
    want[1:, 2:] = image[:-1, :-2]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_warp_agrees_with_pillow(interpolation):
    image = noise(19, 24)
    matrix = geometry.compose(
        geometry.rotation(25), geometry.shear(0.2), geometry.translation(2.3, -1.4)
    )
    # Pillow wants the map from output to input, about the upper left corner of the picture.
    corner = np.array([[1, 0, 12], [0, 1, 9.5], [0, 0, 1]])
    back = corner @ np.linalg.inv(np.asarray(matrix, float)) @ np.linalg.inv(corner)
    want = np.asarray(
        Image.fromarray(image).transform(
            (24, 19),
            Image.Transform.AFFINE,
            tuple(back[:2].ravel()),
            {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}[
                interpolation
            ],
        )
    )
    got = geometry.warp(image[..., None], matrix, interpolation=interpolation)[..., 0]
    # Pillow does not fade the border: compare where all four neighbours are inside.
    everywhere = np.asarray(geometry.warp(np.ones((19, 24, 1), np.float32), matrix))[..., 0] > 0.999
    assert everywhere.sum() > 250
    np.testing.assert_allclose(got[everywhere], want[everywhere], atol=1e-4)


def test_bilinear_of_a_linear_picture_is_that_picture():
    """An independent truth: interpolation reproduces a plane, at the place it came from."""
    y, x = np.mgrid[:20, :20].astype(np.float32)
    plane = (0.3 + 0.02 * x - 0.01 * y)[..., None]
    matrix = geometry.compose(geometry.rotation(17), geometry.scaling(1.5, 1.4))
    got = np.asarray(geometry.warp(plane, matrix))[..., 0]
    back = np.linalg.inv(np.asarray(matrix, float))
    for row, column in ((5, 6), (10, 10), (13, 4)):
        u, v, _ = back @ [column - 9.5, row - 9.5, 1]
        assert got[row, column] == pytest.approx(0.3 + 0.02 * (u + 9.5) - 0.01 * (v + 9.5), 1e-4)


@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 20, 30), (10, 10)), ((3, 7, 11, 9), (16, 16)), ((5, 2, 14, 25), (6, 50))],
)
def test_crop_and_resize_equals_pillow(box, size):
    image, (top, left, height, width) = noise(20, 30), box
    cut = Image.fromarray(image[top : top + height, left : left + width])
    want = np.asarray(cut.resize(size[::-1], Image.Resampling.BILINEAR))
    got = geometry.crop_and_resize(image[..., None], (top, left), (height, width), size)
    np.testing.assert_allclose(got[..., 0], want, atol=1e-5)


def test_crop_and_resize_equals_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision.transforms import functional as F

    image = noise(20, 30, 3)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    want = F.resized_crop(planes, 3, 7, 11, 19, [8, 24], antialias=True).permute(1, 2, 0)
    got = geometry.crop_and_resize(image, (3, 7), (11, 19), (8, 24))
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_warp_equals_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    image = noise(19, 24, 3)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    want = F.rotate(planes, 33.0, InterpolationMode.BILINEAR).permute(1, 2, 0)
    # It fades to black at the border, as ours does for fill = 0.
    np.testing.assert_allclose(geometry.warp(image, geometry.rotation(33.0)), want, atol=1e-4)
    # torchvision's angle turns clockwise in `affine` and the other way in `rotate`.
    want = F.affine(planes, 20.0, [3, -2], 1.2, [0.0], InterpolationMode.BILINEAR)
    matrix = geometry.compose(
        geometry.scaling(1.2, 1.2), geometry.rotation(-20.0), geometry.translation(3, -2)
    )
    np.testing.assert_allclose(geometry.warp(image, matrix), want.permute(1, 2, 0), atol=1e-4)


@pytest.mark.parametrize("space", [(12,), (5, 6, 7)])
def test_crop_and_resize_knows_every_rank(space):
    """The identity crop is the identity; a constant stays constant through any resampling."""
    image, n = noise(*space, 2), len(space)
    same = geometry.crop_and_resize(image, (0,) * n, space, space)
    np.testing.assert_allclose(same, image, atol=1e-6)
    flat = geometry.crop_and_resize(np.full_like(image, 0.3), (1,) * n, (3,) * n, (5,) * n)
    np.testing.assert_allclose(flat, 0.3, rtol=1e-6)


def test_random_box_stays_inside_and_keeps_its_bounds():
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(
        jax.vmap(lambda key: geometry.random_box(key, (60, 80), scale=(0.1, 0.6), ratio=(0.5, 2.0)))
    )
    start, length, found = map(np.asarray, draw(keys))
    assert found.mean() > 0.99
    start, length = start[found], length[found]
    assert (start >= 0).all()
    assert (start + length <= [60, 80]).all()
    share = length.prod(1) / 4800
    assert 0.09 < share.min() < 0.12
    assert 0.55 < share.max() < 0.62
    aspect = length[:, 1] / length[:, 0]
    assert 0.47 < aspect.min() < 0.55
    assert 1.8 < aspect.max() < 2.1


def test_random_box_is_uniform_where_nothing_is_rejected():
    """Boxes small enough to fit always: area uniform, aspect log-uniform (Kolmogorov-Smirnov)."""
    keys = jax.random.split(jax.random.key(1), 2000)
    draw = jax.vmap(
        lambda key: geometry.random_box(key, (3000, 3000), scale=(0.05, 0.2), ratio=(0.5, 2.0))
    )
    start, length, found = map(np.asarray, jax.jit(draw)(keys))
    assert found.all()
    share = length.prod(1) / 9e6
    aspect = np.log2(length[:, 1] / length[:, 0])
    assert stats.kstest(share, stats.uniform(0.05, 0.15).cdf).pvalue > 1e-3
    assert stats.kstest(aspect, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    for axis in (0, 1):
        room = start[:, axis] / (3000 - length[:, axis])
        assert stats.kstest(room, stats.uniform(0, 1).cdf).pvalue > 1e-3


def test_random_box_that_cannot_fit_is_reported():
    _, length, found = geometry.random_box(
        jax.random.key(0), (10, 10), scale=(0.9, 1.0), ratio=(3.0, 4.0)
    )
    assert not found
    assert length.tolist() == [0, 0]


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_warp_and_crop(self):
        image = noise(9, 8, 3)
        warp = lambda x, d: geometry.warp(x, geometry.rotation(d))  # noqa: E731
        crop = lambda x, s: geometry.crop_and_resize(x, s, (5, 5), (7, 7))  # noqa: E731
        np.testing.assert_allclose(self.variant(warp)(image, 20.0), warp(image, 20.0), atol=1e-5)
        start = jnp.array([2, 1])
        np.testing.assert_allclose(self.variant(crop)(image, start), crop(image, start), atol=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"image \[H, W, C\]"):
        geometry.warp(jnp.zeros((4, 4)), geometry.rotation(1))
    with pytest.raises(ValueError, match="bicubic"):
        geometry.warp(jnp.zeros((4, 4, 1)), geometry.rotation(1), interpolation="bicubic")
    with pytest.raises(ValueError, match="size"):
        geometry.crop_and_resize(jnp.zeros((4, 4, 1)), (0, 0), (2, 2), (3,))


def test_warp_has_gradients_with_respect_to_the_map():
    image = jnp.asarray(noise(16, 16, 1))

    def moved(shift):
        return geometry.warp(image, geometry.translation(shift, 0.0)).sum(where=centre)

    centre = jnp.zeros((16, 16, 1), bool).at[4:12, 4:12].set(True)
    step = 1e-2
    numeric = (moved(0.4 + step) - moved(0.4 - step)) / (2 * step)
    assert math.isclose(jax.grad(moved)(0.4), numeric, rel_tol=1e-2)
