"""Dilated convolutions by phases, against the definition in numpy, and where they are chosen."""

import jax
import numpy as np
import pytest
from jax import lax

import cnn_jax.cpu
from cnn_jax.cpu import choose, geometry, phases, registry

LAYOUT = ("NHWC", "HWIO", "NHWC")


def _case(size, channels, features, dilation, padding, window=(3, 3)):
    """x, w, the gradient from above, and what numpy makes of them: y, dx and dw."""
    random = np.random.default_rng(0)
    x = random.standard_normal((2, *size, channels))
    w = random.standard_normal((*window, channels, features))
    padded = np.pad(x, [(0, 0), *padding, (0, 0)])
    out = [n - (k - 1) * d for n, k, d in zip(padded.shape[1:-1], window, dilation, strict=True)]
    above = random.standard_normal((2, *out, features))
    y, dx, dw = np.zeros_like(above), np.zeros_like(padded), np.zeros_like(w)
    for tap in np.ndindex(*window):
        seen = tuple(slice(t * d, t * d + n) for t, d, n in zip(tap, dilation, out, strict=True))
        y += padded[:, *seen] @ w[tap]
        dx[:, *seen] += above @ w[tap].T
        dw[tap] = np.tensordot(padded[:, *seen], above, axes=[(0, 1, 2)] * 2)
    inside = tuple(slice(lo, lo + n) for (lo, _), n in zip(padding, size, strict=True))
    return (x, w, above), (y, dx[:, *inside], dw)


@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.parametrize(
    ("size", "dilation", "padding"),
    [
        ((13, 9), (2, 3), ((3, 0), (2, 5))),
        ((12, 12), (2, 2), ((2, 2), (2, 2))),
        ((11, 8), (1, 3), ((1, 1), (0, 0))),
    ],
)
def test_the_definition(size, dilation, padding, onednn, monkeypatch):
    monkeypatch.setenv("CNN_JAX_ONEDNN", onednn)
    for name in ("LEAST", "LEAST_ONEDNN", "TOUCH", "TOUCH_ONEDNN"):
        monkeypatch.setattr(choose, name, 0)
    arguments, wanted = _case(size, 8, 6, dilation, padding)
    chosen = []

    def spy(*arguments):
        chosen.append(choose.choose(*arguments))
        return chosen[-1]

    monkeypatch.setattr(registry, "choose", spy)

    def convolve(x, w):
        return lax.conv_general_dilated(
            x, w, (1, 1), padding, rhs_dilation=dilation, dimension_numbers=LAYOUT
        )

    def run(x, w, above):
        y, pull = jax.vjp(convolve, x, w)
        return y, *pull(above)

    with cnn_jax.cpu.enabled():
        got = jax.jit(run)(*(a.astype(np.float32) for a in arguments))
    assert sum(name is not None and name.startswith("phases of ") for name in chosen) == (
        1 if any(name == "onednn" for name in chosen) else 3
    )
    for have, want in zip(got, wanted, strict=True):
        # at most 2 * 13 * 9 products a sum; tiles of 4 enlarge their rounding by up to 27 squared
        np.testing.assert_allclose(have, want, atol=1e-3)


def test_split_and_join_are_inverses():
    x = np.arange(2 * 5 * 7 * 3.0, dtype=np.float32).reshape(2, 5, 7, 3)
    apart = phases.split(x, (2, 3), (3, 3), (1, 0))
    assert apart.shape == (2 * 3 * 2, 3, 3, 3)
    # phase (1, 2) of the second example: rows 1, 3, 5 of the padded image, columns 2, 5, 8
    padded = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    np.testing.assert_array_equal(apart[(1 * 3 + 2) * 2 + 1], padded[1, 1::2, 2::3])
    whole = phases.join(apart.reshape(2, 3, 2, 3, 3, 3), 2)
    np.testing.assert_array_equal(whole, padded)


def test_what_is_taken_apart():
    def chosen(size, channels, dilation, groups=1, **options):
        x, w, y = (
            (8, size, size, channels),
            (3, 3, channels // groups, channels),
            (8, size, size, channels),
        )
        params = {
            "dimension_numbers": lax.conv_dimension_numbers(x, w, LAYOUT),
            "window_strides": (1, 1),
            "padding": ((dilation, dilation),) * 2,
            "lhs_dilation": (1, 1),
            "rhs_dilation": (dilation, dilation),
            "feature_group_count": groups,
            "batch_group_count": 1,
        }
        return choose.choose(geometry.of(x, w, y, params), **options)

    assert chosen(24, 256, 2) == "phases of winograd4"
    assert chosen(24, 256, 1) == "winograd4"
    assert chosen(24, 256, 2, exact=True) == "taps"
    assert chosen(24, 256, 2, groups=32) == "grouped"
    assert chosen(24, 256, 2, by_onednn=True) == "onednn"
