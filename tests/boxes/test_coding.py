"""Box coding: by hand, there and back, and torchvision's coders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.boxes import coding as C

encode, decode = jax.jit(C.encode), jax.jit(C.decode)
place, side = st.floats(-50, 50, width=32), st.floats(0.5, 100, width=32)
box = st.tuples(place, place, side, side).map(
    lambda v: np.float32([v[0], v[1], v[0] + v[2], v[1] + v[3]])
)


def test_by_hand():
    anchor = jnp.array([0.0, 0.0, 10.0, 20.0])
    target = jnp.array([5.0, 10.0, 25.0, 20.0])  # centre (15, 15), 20 x 10
    got = C.encode(target, anchor, weights=C.SECOND_STAGE_WEIGHTS)
    np.testing.assert_allclose(
        got, [10 * 1.0, 10 * 0.25, 5 * np.log(2), 5 * np.log(0.5)], rtol=1e-6
    )


@settings(max_examples=100, deadline=None)
@given(box, box)
def test_there_and_back(target, anchor):
    ratio = (target[2:] - target[:2]) / (anchor[2:] - anchor[:2])
    if ratio.max() < 62:
        np.testing.assert_allclose(decode(encode(target, anchor), anchor), target, atol=2e-3)


def test_no_output_makes_an_infinite_box_and_no_target_is_infinite():
    anchor = jnp.array([0.0, 0.0, 16.0, 16.0])
    wide = C.decode(jnp.array([0.0, 0.0, 1e9, 0.0]), anchor)
    np.testing.assert_allclose(wide[2] - wide[0], 1000, rtol=1e-5)
    broken = jnp.array([[5.0, 5, 5, 5], [9, 9, 2, 2]])
    assert bool(jnp.isfinite(C.encode(broken, anchor)).all())
    assert bool(jnp.isfinite(C.encode(broken, broken)).all())


def test_equal_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision.models.detection import _utils as D

    rng = np.random.default_rng(0)

    def boxes():
        corner, sides = rng.uniform(0, 50, (40, 2)), rng.uniform(1, 40, (40, 2))
        return np.concatenate([corner, corner + sides], 1).astype(np.float32)

    target, anchor = boxes(), boxes()
    codes = rng.normal(0, 3, (40, 4)).astype(np.float32)
    tt, ta, tc = (torch.from_numpy(v) for v in (target, anchor, codes))
    for weights in (C.UNIT_WEIGHTS, C.SECOND_STAGE_WEIGHTS):
        coder = D.BoxCoder(weights)
        np.testing.assert_allclose(
            C.encode(target, anchor, weights=weights), coder.encode_single(tt, ta), atol=1e-4
        )
        np.testing.assert_allclose(
            C.decode(codes, anchor, weights=weights),
            coder.decode_single(tc, ta),
            rtol=1e-4,
            atol=1e-3,
        )
