"""What our lowering rules take, whatever stands around a convolution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cnn_jax.cpu

pytestmark = pytest.mark.filterwarnings("ignore:cnn_jax.cpu runs without oneDNN:RuntimeWarning")


def gradients(f, *arguments):
    y, pull = jax.vjp(f, *arguments)
    return y, *pull(jnp.cos(y))


@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.parametrize("groups", [1, 4, 32])
@pytest.mark.parametrize("rows", [6, 4096])  # too small for oneDNN, and not
def test_without_spatial_axes(monkeypatch, onednn, groups, rows):
    """Which is a product of matrices, and whose padding is empty."""
    monkeypatch.setenv("CNN_JAX_ONEDNN", onednn)
    random = np.random.default_rng(0)
    x = random.standard_normal((rows, 32)).astype(np.float32)
    w = random.standard_normal((32 // groups, 64)).astype(np.float32)

    def step(x, w):
        numbers = ("NC", "IO", "NC")
        f = partial(
            lax.conv_general_dilated,
            window_strides=(),
            padding=[],
            dimension_numbers=numbers,
            feature_group_count=groups,
        )
        return gradients(f, x, w)

    with cnn_jax.cpu.enabled():
        got = jax.jit(lambda *a: step(*a))(x, w)
    with jax.enable_x64(True):
        want = jax.jit(lambda *a: step(*a))(x.astype(np.float64), w.astype(np.float64))
    for have, true in zip(got, want, strict=True):
        true = np.asarray(true)
        np.testing.assert_allclose(have, true, atol=1e-5 * abs(true).max())


@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.parametrize(
    ("groups", "stride", "dilation"),
    [(1, 1, 1), (1, 2, 1), (1, 1, 2), (8, 1, 1), (8, 2, 1), (64, 1, 1), (64, 2, 1)],
)
def test_what_a_user_forbids_to_numpy_is_not_forbidden_to_us(
    monkeypatch, onednn, groups, stride, dilation
):
    """Broadcasting between ranks, and mixed dtypes: settings for the user's own operations."""
    monkeypatch.setenv("CNN_JAX_ONEDNN", onednn)
    x = jax.ShapeDtypeStruct((8, 16, 16, 64), np.float32)
    w = jax.ShapeDtypeStruct((3, 3, 64 // groups, 64), np.float32)

    def step(x, w):
        def f(x, w):
            y = lax.conv_general_dilated(
                x,
                w,
                (stride,) * 2,
                "SAME",
                rhs_dilation=(dilation,) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
            window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
            return lax.reduce_window(y, -np.inf, lax.max, window, strides, "SAME")

        return gradients(f, x, w)

    with (
        cnn_jax.cpu.enabled(),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
    ):
        jax.jit(lambda *a: step(*a)).lower(x, w)


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_sizes_that_are_numpys_integers(monkeypatch, onednn):
    monkeypatch.setenv("CNN_JAX_ONEDNN", onednn)
    x, w = np.ones((8, 32, 32, 16), np.float32), np.ones((3, 3, 16, 16), np.float32)
    one, two = np.int64(1), np.int32(2)

    def f(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (two, two),
            [(one, one)] * 2,
            rhs_dilation=(one, one),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=1,
        )

    want = jax.jit(lambda *a: gradients(f, *a))(x, w)
    with cnn_jax.cpu.enabled():
        lowered = jax.jit(lambda *a: gradients(f, *a)).lower(x, w)
        got = lowered.compile()(x, w)
    left = lowered.as_text().count("stablehlo.convolution")
    assert left < 3
    for have, true in zip(got, want, strict=True):
        # sums of 2,048 equal numbers: without AVX-512 each rounds alike, and 1.7e-5 was seen
        np.testing.assert_allclose(have, true, rtol=4e-5, atol=1e-3)
