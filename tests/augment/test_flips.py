"""Flips by turns, and views at test time."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import flips, test_time


def images(count=4, side=4):
    return jnp.arange(count * side * side * 3.0).reshape(count, side, side, 3)


def test_two_epochs_show_each_image_both_ways():
    x, first = images(), jnp.array([True, False, True, False])
    for epoch in range(4):
        shown = flips.alternating(x, first, epoch)
        mirrored = [bool(f) != (epoch % 2 == 1) for f in first]
        want = np.stack([i[:, ::-1] if m else i for i, m in zip(x, mirrored, strict=True)])
        np.testing.assert_array_equal(shown, want)
    each = flips.alternating(x, first, jnp.array([0, 0, 1, 1]))  # an epoch for each image
    np.testing.assert_array_equal(each[3], x[3][:, ::-1])
    np.testing.assert_array_equal(each[2], x[2])


def test_six_views_with_their_weights():
    x = images(1, 5)
    seen = []

    def logits(view):
        seen.append(np.asarray(view))
        return view[:, 0, 0, :1]  # the red of the first pixel

    result = test_time.mirrored_and_shifted(logits, x)
    padded = np.pad(np.asarray(x), [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    views = [(0.5, x), (0.25, padded[:, :5, :5]), (0.25, padded[:, 2:, 2:])]
    want = sum(share * (float(v[0, 0, 0, 0]) + float(v[0, 0, -1, 0])) / 2 for share, v in views)
    assert len(seen) == 6
    assert float(result[0, 0]) == pytest.approx(want, rel=1e-5)
    with pytest.raises(ValueError, match="fewer than a side's 5"):
        test_time.mirrored_and_shifted(logits, x, pixels=5)
