"""Winograd's identity, its rounding, and what it promises about infinities."""

import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax.cpu
from cnn_jax.cpu import choose, depthwise, geometry, kernel_gradient, winograd


def _geometry(x, w, padding=1, groups=1):
    numbers = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    out = tuple(n + 2 * padding - k + 1 for n, k in zip(x.shape[1:3], w.shape[:2], strict=True))
    params = {
        "dimension_numbers": numbers,
        "window_strides": (1, 1),
        "padding": ((padding, padding),) * 2,
        "lhs_dilation": (1, 1),
        "rhs_dilation": (1, 1),
        "feature_group_count": groups,
        "batch_group_count": 1,
    }
    return geometry.of(x.shape, w.shape, (x.shape[0], *out, w.shape[-1]), params)


def _direct(x, w):
    """The definition, in float64 numpy: 3x3, one pixel of padding."""
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, v = x.shape[1] - 2, x.shape[2] - 2
    return sum(
        x[:, i : i + h, j : j + v] @ w[i, j].astype(np.float64) for i in range(3) for j in range(3)
    )


@pytest.mark.parametrize("tile", winograd.POINTS)
def test_the_matrices_compute_a_correlation(tile):
    b_t, g, a_t = winograd.matrices(tile)
    random = np.random.default_rng(0)
    d, f = random.standard_normal(tile + 2), random.standard_normal(3)
    want = [d[i : i + 3] @ f for i in range(tile)]
    np.testing.assert_allclose(a_t @ ((g @ f) * (b_t @ d)), want, rtol=0, atol=1e-13)


# Root mean square error over that of the output, measured with numpy: 1.8e-7 and 5.9e-7. The
# usual points 0, +-1, +-2 would give 1.2e-6 for tiles of 4 and fail here.
@pytest.mark.parametrize(("tile", "most"), [(2, 3.6e-7), (4, 9e-7)])
def test_rounding_in_float32(tile, most):
    random = np.random.default_rng(0)
    x = random.standard_normal((8, 12, 12, 64)).astype(np.float32)
    w = random.standard_normal((3, 3, 64, 16)).astype(np.float32)
    got = np.asarray(winograd.convolve(x, w, _geometry(x, w), tile), np.float64)
    want = _direct(x, w)
    assert np.sqrt(((got - want) ** 2).mean() / (want**2).mean()) < most


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tile", winograd.POINTS)
def test_three_axes_are_two_with_three_times_the_channels(tile, transposed):
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 5, 6, 7, 4)).astype(np.float32)
    w = random.standard_normal((3, 3, 3, 4, 5)).astype(np.float32)
    g = geometry.Geometry(
        batch=2,
        channels=4,
        features=5,
        space=(5, 6, 7),
        window=(3, 3, 3),
        out=(5, 6, 6),
        strides=(1, 1, 1),
        padding=((2, 0), (1, 1), (0, 1)),
        base_dilation=(1, 1, 1),
        window_dilation=(1, 1, 1),
        feature_groups=1,
        batch_groups=1,
        kernel_transposed=transposed,
    )
    padded = np.pad(x.astype(np.float64), ((0, 0), *g.padding, (0, 0)))
    taps = list(np.ndindex(3, 3, 3))
    seen = [padded[:, i : i + 5, j : j + 6, k : k + 6] for i, j, k in taps]
    want = sum(view @ w[tap] for tap, view in zip(taps, seen, strict=True))
    got = winograd.convolve(x, w.swapaxes(-1, -2) if transposed else w, g, tile)
    # sums of 27 * 4 products, whose rounding tiles of 4 enlarge by up to 27 squared; measured 2e-5
    np.testing.assert_allclose(got, want, atol=2e-4)
    if transposed:
        return
    above = random.standard_normal(want.shape).astype(np.float32)
    gradient = g._replace(batch=4, channels=2, window=g.out, out=g.window)
    want = [np.tensordot(view, above, axes=[(0, 1, 2, 3)] * 2) for view in seen]
    got = winograd.kernel_gradient(x, above, gradient, tile)
    np.testing.assert_allclose(got, np.reshape(want, w.shape), atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_input_spoils_its_tiles_and_no_others(bad):
    x = np.ones((1, 12, 12, 4), np.float32)
    w = np.ones((3, 3, 4, 4), np.float32)
    x[0, 0, 0, 0] = bad  # in the window of outputs (0..1, 0..1), in the tile of (0..3, 0..3)
    y = np.asarray(winograd.convolve(x, w, _geometry(x, w), 4))[0, :, :, 0]
    assert not np.isfinite(y[:2, :2]).any()
    assert np.isfinite(y[4:]).all()
    assert np.isfinite(y[:, 4:]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_depthwise_spoils_only_the_windows_that_see_it(bad):
    x = np.ones((1, 6, 6, 4), np.float32)
    w = np.ones((3, 3, 1, 4), np.float32)
    x[0, 0, 0, 2] = bad
    y = np.asarray(depthwise.convolve(x, w, _geometry(x, w, groups=4)))
    spoilt = ~np.isfinite(y[0])
    want = np.zeros((6, 6, 4), bool)
    want[:2, :2, 2] = True
    np.testing.assert_array_equal(spoilt, want)


def test_the_rule_follows_the_costs():
    def chosen(batch, size, channels, features, window=3, **options):
        x, w = (
            np.empty((batch, size, size, channels)),
            np.empty((window, window, channels, features)),
        )
        return choose.choose(_geometry(x, w, window // 2), **options)

    assert chosen(64, 32, 64, 64) == "winograd4"
    assert chosen(64, 32, 64, 64, exact=True) is None  # XLA's own sum
    assert chosen(2, 4, 8, 8) is None  # not worth its compile time
    assert chosen(64, 32, 64, 64, window=1) == "pointwise"
    assert chosen(16, 3, 512, 512) == "taps"  # 16 tiles do not pay for transforming the kernel


@pytest.mark.parametrize(
    ("layer", "trained", "frozen"),
    [
        ((16, 3, 512), "onednn", "onednn"),
        ((16, 6, 256), "onednn", "winograd2"),
        ((16, 12, 128), "winograd4", "winograd4"),
        ((16, 24, 64), "onednn", "winograd4"),
        ((64, 4, 512), "winograd2", "winograd4"),
        ((4, 8, 256), "onednn", "winograd2"),
    ],
)
def test_a_kernel_that_is_transformed_beforehand_costs_less(layer, trained, frozen):
    """What is chosen when frozen was the fastest in each row, see BUILD_NOTES.md."""
    batch, size, channels = layer
    x = np.empty((batch, size, size, channels))
    g = _geometry(x, np.empty((3, 3, channels, channels)), 1)
    assert choose.choose(g, by_onednn=True) == trained
    assert choose.choose(g, by_onednn=True, frozen=True) == frozen


def test_importing_changes_nothing():
    from cnn_jax.cpu import registry

    assert not registry.installed()
    offered = ["Counts", "Frozen", "Status", "disable", "enable", "enabled", "freeze", "status"]
    assert cnn_jax.cpu.__all__ == offered


@pytest.mark.parametrize(
    ("examples", "size", "part"),
    [(12, 4 * 44, 4), (12, 5 * 44, 6), (13, 3 * 44, 1), (13, 4 * 44, 13)],
)
def test_parts_of_a_kernel_gradient_are_equal_and_near_the_size_asked_for(examples, size, part):
    random = np.random.default_rng(0)
    x, above = (
        random.standard_normal((examples, n)).astype(np.float32) for n in (5, 6)
    )  # 44 bytes
    g = _geometry(np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 2)))._replace(channels=examples)
    seen = []

    def gradient(x, w, g):
        assert x.shape[0] == w.shape[0] == g.channels
        seen.append(g.channels)
        return x.T @ w

    got = kernel_gradient.in_parts(gradient, *map(jnp.asarray, (x, above)), g, size)
    assert set(seen) == {part}
    np.testing.assert_allclose(got, x.T.astype(np.float64) @ above, atol=1e-5)
