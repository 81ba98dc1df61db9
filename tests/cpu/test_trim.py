"""Taps that meet only padding: left out, and the result is the definition's."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

import cnn_jax.cpu


@st.composite
def cases(draw):
    """(size, window, stride, base dilation, window dilation, padding) of a line of pixels."""
    size, window, stride = (draw(st.integers(1, most)) for most in (6, 4, 3))
    base, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 6))
    low, high = draw(st.integers(-1, 12)), draw(st.integers(-1, 12))
    line = (size - 1) * base + 1
    reach = (window - 1) * dilation + 1
    if line + low + high < reach or line + min(low, 0) + min(high, 0) < 1:
        low, high = reach, reach
    return size, window, stride, base, dilation, (low, high)


def _definition(x, w, case):
    """Output and both gradients for the gradient cos(y) from above, in float64 numpy."""
    size, window, stride, base, dilation, (low, high) = case
    line = np.zeros((2, (size - 1) * base + 1, 3))
    line[:, ::base] = x
    length = line.shape[1] + low + high
    inside = [p for p in range(length) if 0 <= p - low < line.shape[1]]
    padded = np.zeros((2, length, 3))
    padded[:, inside] = line[:, [p - low for p in inside]]
    out = (length - (window - 1) * dilation - 1) // stride + 1
    meets = [(o, t, o * stride + t * dilation) for o in range(out) for t in range(window)]
    y = np.zeros((2, out, 4))
    for o, t, p in meets:
        y[:, o] += padded[:, p] @ w[t]
    above = np.cos(y)
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for o, t, p in meets:
        dx[:, p] += above[:, o] @ w[t].T
        dw[t] += padded[:, p].T @ above[:, o]
    dline = np.zeros_like(line)
    dline[:, [p - low for p in inside]] = dx[:, inside]
    return y, dline[:, ::base], dw


@settings(max_examples=60, deadline=None)
@given(cases())
@example((1, 1, 3, 1, 2, (8, 0)))  # the kernel's gradient crops two of one pixel
@example((2, 1, 3, 2, 2, (8, 0)))
@example((1, 2, 3, 1, 6, (12, 1)))
def test_the_definition(case):
    _, window, stride, base, dilation, padding = case
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, case[0], 3)), random.standard_normal((window, 3, 4))

    def convolve(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (stride,),
            (padding,),
            lhs_dilation=(base,),
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )

    def everything(x, w):
        y, pullback = jax.vjp(convolve, x, w)
        return y, *pullback(jnp.cos(y))

    with cnn_jax.cpu.enabled():
        got = jax.jit(everything)(x.astype(np.float32), w.astype(np.float32))
    for ours, want in zip(got, _definition(x, w, case), strict=True):
        # float32 sums of at most 2 * 13 * 3 terms of size 3
        np.testing.assert_allclose(ours, want, atol=2e-4)


def test_deeplab_s_windows_cost_what_meets_a_pixel():
    """Nine taps 36 pixels apart on a map of 8 x 8 (output stride 16, images of 128): one of nine,
    in all three passes."""
    x, w = jnp.ones((1, 8, 8, 16)), jnp.ones((3, 3, 16, 16))

    def products(dilation):
        def convolve(x, w):
            return lax.conv_general_dilated(
                x,
                w,
                (1, 1),
                [(dilation, dilation)] * 2,
                rhs_dilation=(dilation,) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )

        def everything(x, w):
            y, pullback = jax.vjp(convolve, x, w)
            return y, pullback(y)

        with cnn_jax.cpu.enabled():
            return jax.jit(everything).lower(x, w).compile().cost_analysis()["flops"]

    one = 2 * 64 * 16 * 16
    assert 3 * one <= products(36) < 4 * one  # and some sums
    assert products(2) > 3 * 4 * one


def test_a_window_larger_than_the_map():
    """The last layers of a network: nine taps over one pixel are the middle one, not a gradient."""
    x, w = np.ones((8, 1, 1, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)

    def convolve(x, w):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)

    def shapes(f):
        with cnn_jax.cpu.enabled():
            return jax.jit(lambda x, w: f(x, w)).lower(x, w).as_text()

    def kernel_gradient(x, w):
        return jax.grad(lambda w: convolve(x, w).sum())(w)

    # 8 x 16 times 16 x 32, and 16 x 8 times 8 x 32: no operand has nine times as many numbers
    for f in (convolve, kernel_gradient):
        assert "144" not in shapes(f)
    with cnn_jax.cpu.enabled():
        got = jax.jit(kernel_gradient)(x, w)
    want = np.zeros_like(w)
    want[1, 1] = 8
    np.testing.assert_array_equal(got, want)
