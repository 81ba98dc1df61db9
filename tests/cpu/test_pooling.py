"""Pooling and its gradients against XLA's own, exactly: they only move and add numbers."""

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_jax.cpu import registry


def _evaluate(function, *arguments, ours):
    if ours:
        assert registry.install()
    try:
        compiled = jax.jit(lambda *a: function(*a)).lower(*arguments).compile()
    finally:
        registry.uninstall()
    return [np.asarray(a) for a in jax.tree.leaves(compiled(*arguments))]


def _pool(kind, window, strides, padding):
    reducer, start = {
        "max": (lax.max, -np.inf),
        "min": (lax.min, np.inf),
        "sum": (lax.add, 0.0),
    }[kind]

    def pool(x):
        return lax.reduce_window(
            x,
            np.array(start, x.dtype),
            reducer,
            (1, *window, 1),
            (1, *strides, 1),
            ((0, 0), *padding, (0, 0)),
        )

    return pool


@st.composite
def pools(draw):
    rank = draw(st.integers(1, 3))
    window = tuple(draw(st.integers(1, 4 if rank < 3 else 3)) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in window)
    space = tuple(draw(st.integers(k, 9 if rank < 3 else 5)) for k in window)
    x = (draw(st.integers(1, 2)), *space, draw(st.integers(1, 3)))
    kind = draw(st.sampled_from(["max", "max", "min", "sum"]))
    return kind, x, window, strides, padding, draw(st.integers(0, 2**31)), draw(st.booleans())


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],
)
@given(pools())
def test_equals_stock(case):
    kind, shape, window, strides, padding, seed, ties = case
    pool = _pool(kind, window, strides, padding)
    random = np.random.default_rng(seed)
    draw = random.standard_normal if not ties else (lambda s: random.integers(-2, 3, s))
    x, dx = draw(shape).astype(np.float32), random.standard_normal(shape).astype(np.float32)
    y = random.standard_normal(jax.eval_shape(pool, x).shape).astype(np.float32)

    def everything(x, dx, y):
        value, back = jax.vjp(pool, x)
        return value, back(y), jax.jvp(pool, (x,), (dx,))[1], jax.vmap(pool)(x[None])

    got = _evaluate(everything, x, dx, y, ours=True)
    want = _evaluate(everything, x, dx, y, ours=False)
    for a, b in zip(got, want, strict=True):
        # Sums of at most 64 terms of order 1 in another order.
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * 64 * 2.0**-24)


@pytest.mark.parametrize("kind", ["max", "min"])
def test_the_gradient_of_equal_values_goes_to_the_first(kind):
    pool = _pool(kind, (2, 2), (2, 2), ((0, 0), (0, 0)))
    x = np.zeros((1, 2, 2, 1), np.float32)
    (got,) = _evaluate(jax.grad(lambda x: pool(x).sum()), x, ours=True)
    np.testing.assert_array_equal(got[0, :, :, 0], [[1, 0], [0, 0]])
