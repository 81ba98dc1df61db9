"""Box geometry against areas counted on a fine grid, torchvision.ops, and broken boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import boxes as B

# (1/8)-ths: sums, products and comparisons of these are exact in float32.
coordinate = st.integers(-40, 40).map(lambda v: v / 8)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
jitted = {name: jax.jit(getattr(B, name)) for name in ("iou", "giou", "area", "is_proper")}


def random_boxes(count, seed=0, low=0.0, high=50.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(low, high, (count, 2))
    sides = rng.uniform(1, high / 2, (count, 2))
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def counted(a, b):
    """Areas of a, b, their intersection and hull, by counting cells of side 1/8."""
    grid = np.arange(-48, 48) / 8 + 1 / 16
    x, y = grid[None, :], grid[:, None]

    def cells(c):
        return (c[0] < x) & (x < c[2]) & (c[1] < y) & (y < c[3])

    hull = (*np.minimum(a[:2], b[:2]), *np.maximum(a[2:], b[2:]))
    inside = cells(a), cells(b)
    return [float(m.sum()) / 64 for m in (*inside, inside[0] & inside[1], cells(hull))]


@settings(max_examples=150, deadline=None)
@given(box, box)
def test_overlap_of_any_two_boxes_is_what_counting_gives(a, b):
    """Inverted and degenerate boxes included: they cover no cell."""
    area_a, area_b, shared, hull = counted(a, b)
    a32, b32 = np.float32(a), np.float32(b)
    assert float(jitted["area"](a32)) == area_a
    union = area_a + area_b - shared
    want = shared / union if union else 0.0
    assert float(jitted["iou"](a32, b32)) == pytest.approx(want, abs=1e-6)
    assert float(jitted["iou"](b32, a32)) == pytest.approx(want, abs=1e-6)
    giou = want - ((hull - union) / hull if hull else 0.0)
    assert float(jitted["giou"](a32, b32)) == pytest.approx(giou, abs=1e-5)
    assert bool(jitted["is_proper"](a32)) == (a[2] > a[0] and a[3] > a[1])


def test_conversions_by_hand_and_back():
    boxes = jnp.array([[10.0, 20.0, 30.0, 60.0]])
    assert B.to_centre(boxes).tolist() == [[20, 40, 20, 40]]
    assert B.from_centre(B.to_centre(boxes)).tolist() == boxes.tolist()


def test_clip_per_image():
    boxes = jnp.array([[[-5.0, 2.0, 8.0, 20.0]], [[30.0, 30.0, 40.0, 40.0]]])  # [2, 1, 4]
    clipped = B.clip(boxes, jnp.array([[10.0], [20.0]]), jnp.array([[15.0], [25.0]]))
    assert clipped.tolist() == [[[0, 2, 8, 15]], [[20, 25, 20, 25]]]
    assert B.is_proper(clipped).tolist() == [[True], [False]]


def test_broken_boxes_overlap_nothing_and_have_finite_gradients():
    nan, inf = jnp.nan, jnp.inf
    broken = jnp.array(
        [[5, 5, 1, 1], [2, 2, 2, 2], [0, nan, 4, 4], [nan] * 4, [0, 0, 4, 0]], jnp.float32
    )
    good = jnp.array([0.0, 0.0, 4.0, 4.0])
    assert B.area(broken).tolist() == [0] * 5
    assert B.iou(broken, good).tolist() == [0] * 5
    assert B.pairwise_iou(broken, broken).max() == 0
    assert not B.is_proper(jnp.vstack([broken, jnp.array([0, 0, inf, 1.0])])).any()
    for function in (B.iou, B.giou):
        assert bool(jnp.isfinite(function(broken, good)).all()), function.__name__
        for argument in (0, 1):
            gradient = jax.grad(lambda *x, f=function: f(*x).sum(), argument)(
                broken, jnp.broadcast_to(good, broken.shape)
            )
            assert bool(jnp.isfinite(gradient).all()), function.__name__


def test_pairwise_is_each_with_each():
    a, b = random_boxes(5, 0), random_boxes(7, 1)
    got = B.pairwise_iou(a, b)
    assert got.shape == (5, 7)
    np.testing.assert_allclose(got[3, 2], B.iou(a[3], b[2]), rtol=1e-6)


def test_giou_attracts_boxes_that_do_not_touch():
    """GIoU's reason to be: a descent direction where IoU has none (paper, section 3)."""
    a, b = jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([5.0, 0.0, 7.0, 2.0])
    assert not jax.grad(B.iou)(a, b).any()
    assert float(jax.grad(B.giou)(a, b)[2]) > 0  # moving the right side to the right


@pytest.mark.parametrize("name", ["iou", "giou"])
def test_gradients_against_differences(name):
    a, b = random_boxes(6, 2), random_boxes(6, 3, high=30.0)

    def total(x):
        return jitted[name](x, b).sum()

    gradient, step = np.asarray(jax.grad(total)(jnp.asarray(a))), 2e-3
    for k in range(4):
        up, down = a.copy(), a.copy()
        up[:, k] += step
        down[:, k] -= step
        numeric = (jitted[name](up, b) - jitted[name](down, b)) / (2 * step)
        np.testing.assert_allclose(gradient[:, k], numeric, atol=1e-3)


def test_equal_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision import ops

    a, b = random_boxes(20, 4), random_boxes(20, 5)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    pairs = a[:, None], b[None]
    np.testing.assert_allclose(B.pairwise_iou(a, b), ops.box_iou(ta, tb), atol=1e-6)
    np.testing.assert_allclose(B.giou(*pairs), ops.generalized_box_iou(ta, tb), atol=1e-5)
    x = ta.clone().requires_grad_()
    ops.generalized_box_iou_loss(x, tb, reduction="sum").backward()
    got = jax.grad(lambda v: (1 - B.giou(v, b)).sum())(jnp.asarray(a))
    np.testing.assert_allclose(got, x.grad, atol=1e-5)
    np.testing.assert_allclose(B.clip(a, 30, 20), ops.clip_boxes_to_image(ta, (20, 30)), atol=1e-6)
