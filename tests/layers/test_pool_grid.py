"""Pooling with a window that hangs over, and to a grid, against PyTorch and by hand."""

import numpy as np
import pytest

from cnn_jax.layers import adaptive_mean, max_pool


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_window_that_hangs_over():
    x = np.arange(5, dtype=np.float32)[None, :, None]  # [1, 5, 1]
    assert max_pool(x, 2, stride=2)[0, :, 0].tolist() == [1, 3]
    assert max_pool(x, 2, stride=2, ceil=True)[0, :, 0].tolist() == [1, 3, 4]
    # A window that would start in the padding is dropped.
    assert max_pool(x, 2, stride=3, padding=1, ceil=True).shape[1] == 2


def test_a_grid_by_hand():
    x = np.arange(5, dtype=np.float32)[None, :, None]
    # Cells 0..2, 1..4 (2.5 rounded down and up), see the docstring.
    np.testing.assert_allclose(adaptive_mean(x, 2)[0, :, 0], [1.0, 3.0])
    np.testing.assert_allclose(adaptive_mean(x[:, :1], 3)[0, :, 0], [0, 0, 0])
    np.testing.assert_array_equal(adaptive_mean(x, 5), x)


@pytest.mark.parametrize("size", [7, 8, 9, 13, 14, 15, 16])
@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(3, 2, 0), (2, 2, 0), (3, 2, 1), (3, 1, 1)]
)
def test_ceil_is_pytorchs(size, window, stride, padding):
    torch = pytest.importorskip("torch")
    x = noise(2, size, size + 3, 4)
    ours = np.asarray(max_pool(x, window, stride=stride, padding=padding, ceil=True))
    theirs = torch.nn.functional.max_pool2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), window, stride, padding, ceil_mode=True
    )
    np.testing.assert_array_equal(ours, theirs.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("size", [1, 2, 6, 7, 9, 14, 20])
def test_the_grid_is_pytorchs(size):
    torch = pytest.importorskip("torch")
    x = noise(2, size, size + 3, 4)
    theirs = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x).permute(0, 3, 1, 2), 7)
    np.testing.assert_allclose(
        adaptive_mean(x, 7), theirs.permute(0, 2, 3, 1).numpy(), rtol=1e-5, atol=1e-6
    )
