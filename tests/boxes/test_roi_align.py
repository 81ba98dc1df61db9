"""RoIAlign against the definition written out in loops, and torchvision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.boxes import roi_align as R

BOXES = np.float32(
    [
        [3.2, 4.1, 30.7, 25.3],
        [0, 0, 47, 39],
        [-9, -7, 12, 60],  # sticks out
        [10, 10, 10.5, 10.4],  # smaller than a feature
        [20, 20, 20, 20],  # degenerate
        [60, 60, 90, 90],  # outside
    ]
)


def features(height=10, width=12, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def bilinear(plane, y, x):
    height, width = plane.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(plane.shape[2])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = (1 - u) * plane[top, left] + u * plane[top, right]
    return (1 - v) * upper + v * ((1 - u) * plane[down, left] + u * plane[down, right])


def brute_force(plane, boxes, stride, size, ratio):
    out = np.zeros((len(boxes), *size, plane.shape[2]))
    for r, box in enumerate(boxes / stride):
        length = [max(box[3] - box[1], 1), max(box[2] - box[0], 1)]
        bin_size = [length[a] / size[a] for a in (0, 1)]
        for p, q in np.ndindex(size):
            points = [
                bilinear(
                    plane,
                    box[1] + (p + (i + 0.5) / ratio) * bin_size[0],
                    box[0] + (q + (j + 0.5) / ratio) * bin_size[1],
                )
                for i, j in np.ndindex(ratio, ratio)
            ]
            out[r, p, q] = np.mean(points, axis=0)
    return out


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_equals_the_definition(ratio):
    plane = features()
    got = jax.jit(partial(R.roi_align, stride=4, size=(3, 2), sampling_ratio=ratio))(plane, BOXES)
    np.testing.assert_allclose(got, brute_force(plane, BOXES, 4, (3, 2), ratio), atol=1e-5)
    with pytest.raises(ValueError, match="sampling_ratio=0: give 1"):
        R.roi_align(plane, BOXES, stride=4, size=(3, 2), sampling_ratio=0)


@pytest.mark.parametrize("ratio", [1, 2])
def test_equals_torchvision_with_gradients(ratio):
    torch = pytest.importorskip("torch")
    from torchvision import ops

    plane, boxes = features(), BOXES
    planes = torch.from_numpy(plane).permute(2, 0, 1)[None].requires_grad_()
    want = ops.roi_align(planes, [torch.from_numpy(boxes)], (3, 2), 0.25, ratio, False)
    weight = np.random.default_rng(1).random(tuple(want.shape), np.float32)
    (want * torch.from_numpy(weight)).sum().backward()

    def weighted(p):
        pooled = R.roi_align(p, boxes, stride=4, size=(3, 2), sampling_ratio=ratio)
        return (pooled * weight.transpose(0, 2, 3, 1)).sum(), pooled

    (_, got), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(plane)
    np.testing.assert_allclose(got, want.detach().permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(gradient, planes.grad[0].permute(1, 2, 0), atol=1e-4)


def test_a_linear_map_pools_to_its_value_at_the_middle_of_each_bin():
    y, x = np.mgrid[:20, :20].astype(np.float32)
    plane = (2 * x + 3 * y)[..., None]
    box = np.float32([[2.5, 3.5, 14.5, 9.5]])
    got = R.roi_align(plane, box, stride=1, size=(2, 3))[0, ..., 0]
    middle_x, middle_y = 2.5 + 4 * (np.arange(3) + 0.5), 3.5 + 3 * (np.arange(2) + 0.5)
    np.testing.assert_allclose(got, 2 * middle_x + 3 * middle_y[:, None], rtol=1e-5)


def test_levels_by_the_paper():
    sides = np.float32([56, 111, 112, 223, 224, 447, 448, 2000, 3])
    boxes = np.stack([0 * sides, 0 * sides, sides, sides], 1)
    got = R.assign_levels(boxes, strides=(4, 8, 16, 32))
    assert got.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]
    broken = np.float32([[np.nan, 0, 1, 1], [5, 5, 1, 1]])
    assert R.assign_levels(broken, strides=(4, 8, 16, 32)).tolist()[0] == 0


def test_each_box_is_pooled_from_its_level():
    pyramid = [features(32, 40), features(16, 20, seed=1), features(8, 10, seed=2)]
    strides = (4, 8, 16)
    boxes = np.float32([[3, 4, 60, 70], [10, 5, 150, 120], [1, 1, 9, 20], [0, 0, 159, 127]])
    pool = jax.jit(
        partial(R.multilevel_roi_align, strides=strides, size=(2, 2), canonical_size=112.0)
    )
    levels = R.assign_levels(boxes, strides=strides, canonical_size=112.0)
    assert len(set(levels.tolist())) == 3
    got = pool(pyramid, boxes)
    for r, level in enumerate(levels.tolist()):
        want = brute_force(pyramid[level], boxes[r : r + 1], strides[level], (2, 2), 2)
        np.testing.assert_allclose(got[r : r + 1], want, atol=1e-5)


def test_multilevel_equals_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision import ops

    rng = np.random.default_rng(0)
    pyramid = [features(64 // 2**k, 64 // 2**k, seed=k) for k in range(4)]
    corner, sides = rng.uniform(0, 200, (30, 2)), np.exp(rng.uniform(2, 6, (30, 2)))
    boxes = np.concatenate([corner, corner + sides], 1).astype(np.float32)
    pooler = ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    planes = {str(k): torch.from_numpy(p).permute(2, 0, 1)[None] for k, p in enumerate(pyramid)}
    want = pooler(planes, [torch.from_numpy(boxes)], [(256, 256)]).permute(0, 2, 3, 1)
    pool = partial(R.multilevel_roi_align, strides=(4, 8, 16, 32), size=(7, 7))
    np.testing.assert_allclose(jax.jit(pool)(pyramid, boxes), want, atol=1e-4)


def test_broken_boxes_give_zeros_and_finite_gradients():
    boxes = np.float32([[np.nan, 0, 4, 4], [0, 0, np.inf, 4], [9, 9, 2, 2]])

    def pooled(p):
        return R.roi_align(p, boxes, stride=1, size=(2, 2))

    got = pooled(jnp.asarray(features()))
    assert not got[:2].any()
    assert bool(jnp.isfinite(got).all())
    gradient = jax.grad(lambda p: pooled(p).sum())(jnp.asarray(features()))
    assert bool(jnp.isfinite(gradient).all())


def test_bfloat16_and_no_boxes():
    plane = jnp.asarray(features(), jnp.bfloat16)
    pool = partial(R.roi_align, stride=4, size=(2, 2))
    assert jax.eval_shape(pool, plane, BOXES).dtype == jnp.bfloat16
    assert jax.eval_shape(pool, plane, BOXES[:0]).shape == (0, 2, 2, 3)


def test_levels_and_strides_must_agree():
    with pytest.raises(ValueError, match="1 feature maps and 2 strides"):
        R.multilevel_roi_align([features()], BOXES, strides=(4, 8), size=(2, 2))
