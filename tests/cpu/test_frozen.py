"""Frozen functions: the numbers of the plain ones, with fewer operations."""

from functools import partial

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cnn_jax.cpu
from cnn_jax import models
from cnn_jax.cpu import folding, frozen, onednn

NHWC = ("NHWC", "HWIO", "NHWC")


def _random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _convolve(x, w, **more):
    more = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **more}
    return lax.conv_general_dilated(x, w, **more)


def _check(function, variables, *inputs, calls=False):
    """The frozen function gives the plain one's numbers; gives back what was folded."""
    plain = jax.jit(lambda *inputs: function(variables, *inputs))(*inputs)
    made = cnn_jax.cpu.freeze(function, variables, onednn=calls)
    got = made(*inputs)
    assert jax.tree.structure(got) == jax.tree.structure(plain)
    for ours, want in zip(jax.tree.leaves(got), jax.tree.leaves(plain), strict=True):
        assert (ours.shape, ours.dtype) == (want.shape, want.dtype)
        if jnp.issubdtype(want.dtype, jnp.floating):
            most = float(abs(want).max()) if want.size else 0
            np.testing.assert_allclose(ours, want, rtol=0, atol=1e-5 * most)
        else:
            np.testing.assert_array_equal(ours, want)
    return made.counts(*inputs)


def _stirred(variables, seed=0):
    """Statistics, scales and biases that do something."""
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: (
            np.asarray(a) * random.uniform(0.7, 1.3, a.shape).astype(a.dtype)
            + (random.uniform(0, 0.2, a.shape).astype(a.dtype) if a.ndim == 1 else 0)
        ),
        variables,
    )


def _network(name, side=32):
    """(function, variables, x): a network that is not as fresh as one of batch norms of 0 and 1."""
    facts = models.describe(name)
    *space, channels = facts.input_shape
    if len(space) > 1:
        space = [max(min(n, side), min(n, facts.min_size)) for n in space]
    model = models.create(name, num_classes=10)
    x = _random(2, *space, channels)
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros(x.shape), train=False))()
    return (lambda v, x: model.apply(v, x, train=False)), _stirred(variables), x


def test_all_batch_norms_of_a_network_are_folded():
    function, variables, x = _network("resnet20")
    counts = _check(function, variables, x)
    norms = len(jax.tree.leaves(variables["batch_stats"])) // 2
    assert counts.folded >= 2 * norms  # a scale and a shift each
    run, weights, _, _ = frozen.folded(function, variables, x, onednn=False)
    assert "rsqrt" not in str(jax.make_jaxpr(run)(weights, x))


@pytest.mark.parametrize("calls", [False, True])
def test_each_thing_that_may_follow_a_convolution(calls):
    """A bias, a scale, a sum from either side, and each activation: one call where it can be."""
    x, w, z = _random(4, 12, 12, 16), _random(3, 3, 16, 48) / 8, _random(4, 12, 12, 48, seed=1)
    bias, scale = _random(48, seed=2), _random(48, seed=3)
    with cnn_jax.cpu.enabled():
        for name, activation in onednn.ACTIVATIONS.items():

            def function(v, x, z, activation=activation):
                y = (_convolve(x, v["w"]) - v["bias"]) * v["scale"] / 3 + 1
                return activation(1 - z + y), _convolve(x, v["w"]) + v["bias"]

            counts = _check(function, {"w": w, "bias": bias, "scale": scale}, x, z, calls=calls)
            few = {"GELU_ERF": 5, "GELU_TANH": 8}.get(name, 1)
            assert (counts.layers, counts.operations, counts.calls) == (2, 1, 2 * calls), name
            assert counts.folded >= 6 + few


@pytest.mark.parametrize(
    "activation",
    [
        nn.leaky_relu,
        nn.hard_swish,
        nn.elu,
        nn.softmax,
        lambda y: jnp.maximum(y, 0.1),
        lambda y: jnp.minimum(nn.relu(y), 5),
        lambda y: y * jax.nn.sigmoid(1.1 * y),
        lambda y: nn.relu(y) + y.sum(),
        lambda y: nn.relu(y) * y,
        lambda y: nn.relu(y).at[0].set(0),
        lambda y: (nn.relu(y), jnp.sin(y)),
        lambda y: lax.cond(y.sum() > 0, jnp.sin, jnp.cos, y),
        lambda y: lax.scan(lambda c, _: (c * y, None), y, None, length=3)[0],
        lambda y: lax.fori_loop(0, 3, lambda _, c: c + y, y),
        lambda y: jnp.argmax(y, -1),
        lambda y: y + y,
        lambda y: y - y[:, :, :, :1],
        lambda y: y + y.mean((1, 2), keepdims=True),
        lambda y: jnp.concatenate([y, y + 1], -1) * 2,
        lambda y: y * np.arange(12, dtype=np.float32)[:, None],
        lambda y: 2 / y,
        lambda y: y / 0.0,
        lambda y: y.astype(jnp.bfloat16) * jnp.bfloat16(2),
    ],
)
def test_what_only_looks_like_it(activation):
    x, w = _random(2, 12, 12, 4), _random(3, 3, 4, 8)
    _check_with_infinities(lambda v, x: activation(_convolve(x, v) + 0.5), w, x)


def _check_with_infinities(function, variables, x):
    want = jax.jit(partial(function, variables))(x)
    got = cnn_jax.cpu.freeze(function, variables, onednn=False)(x)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))
        finite = np.isfinite(theirs)
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=2e-3, atol=1e-3)


def test_layouts_groups_strides_and_axes():
    """As other libraries write them: NCHW under vmap, transposed, grouped, 1-D, 3-D."""
    bias = _random(8, seed=4)

    def channels_first(v, x):
        def one(image):  # as Equinox does it
            y = lax.conv_general_dilated(image[None], v["w"], (2, 2), "SAME").squeeze(0)
            return jax.nn.relu(y * v["bias"][:, None, None] + v["bias"][:, None, None])

        return jax.vmap(one)(x)

    w = _random(8, 4, 3, 3)
    counts = _check(channels_first, {"w": w, "bias": bias}, _random(2, 4, 9, 9))
    assert counts.layers == 1
    assert counts.folded >= 3  # and what reshapes

    def others(v, x):
        grouped = nn.relu(_convolve(x, v["grouped"], feature_group_count=4) * bias)
        across = _convolve(x, v["w"].T, rhs_dilation=(2, 2)) + bias
        larger = lax.conv_transpose(x, v["w"].T, (2, 2), "SAME", dimension_numbers=NHWC) + bias
        line = lax.conv_general_dilated(
            x[:, 0], v["line"], (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )
        deep = lax.conv_general_dilated(
            x[..., None, :],
            v["deep"],
            (1,) * 3,
            "SAME",
            dimension_numbers=("NHWDC", "HWDIO", "NHWDC"),
        )
        dense = x @ v["dense"] * bias + 2
        return grouped, nn.silu(across), larger, line * 2, jax.nn.sigmoid(deep + bias), dense

    variables = {
        "w": w,
        "grouped": _random(3, 3, 1, 8),
        "line": _random(3, 4, 8),
        "deep": _random(3, 3, 1, 4, 8),
        "dense": _random(4, 8),
    }
    counts = _check(others, variables, _random(2, 9, 9, 4))
    assert counts.layers == 6
    assert counts.folded >= 10


def test_variables_and_inputs_of_any_kind():
    class Settings:  # no tree: one leaf that is no array
        slope = 2.0

    w = _random(3, 3, 4, 8)
    made = cnn_jax.cpu.freeze(
        lambda v, x: {
            "y": _convolve(x["image"], v[0]) * v[1].slope,
            "n": x["count"] + 1,
            "c": v[0],
        },
        (w, Settings()),
    )
    x = {"image": _random(1, 6, 6, 4), "count": 3}
    want = np.asarray(_convolve(x["image"], w)) * 2
    w[:] = 0  # a copy was frozen
    for inputs in (x, x):
        got = made(inputs)
        np.testing.assert_allclose(got["y"], want, atol=1e-4)
        assert got["n"] == 4
        assert got["c"].any()
    assert made({**x, "image": _random(3, 5, 5, 4)})["y"].shape == (3, 5, 5, 8)


def test_half_precision_is_left_alone():
    x, w = _random(2, 8, 8, 4).astype(jnp.bfloat16), _random(3, 3, 4, 8).astype(jnp.bfloat16)
    function = lambda v, x: nn.relu(_convolve(x, v) * jnp.bfloat16(1.5))  # noqa: E731
    made = cnn_jax.cpu.freeze(function, w)
    assert made.counts(x).layers == 0
    np.testing.assert_array_equal(
        np.asarray(made(x), np.float32), np.asarray(jax.jit(function)(w, x), np.float32)
    )


def test_a_folded_function_can_be_exported():
    function, variables, x = _network("resnet20")
    run, weights, _, _ = frozen.folded(function, variables, x, onednn=False)
    text = jax.export.export(jax.jit(lambda x: run(weights, x)))(x).serialize()
    got = jax.export.deserialize(text).call(x)[0]
    np.testing.assert_allclose(got, function(variables, x), atol=1e-5)


def test_numbers_per_feature():
    traced = jax.make_jaxpr(lambda x: _convolve(x, np.ones((1, 1, 4, 8), np.float32)))(
        jnp.zeros((2, 3, 5, 4))
    )
    layer = folding.Layer(
        traced.eqns[-1], 0, np.ones((1, 1, 4, 8), np.float32), (2, 3, 5, 8), 3, None, None, "", 0, 1
    )
    row = np.arange(8, dtype=np.float32)
    for value in (row.reshape(1, 1, 1, 8), np.broadcast_to(row, (2, 3, 5, 8))):
        np.testing.assert_array_equal(folding.per_feature(value, layer), row)
    np.testing.assert_array_equal(folding.per_feature(np.float32(3), layer), np.full(8, 3))
    assert folding.per_feature(np.ones((2, 3, 5, 8), np.float32), layer) is None  # not by its form
    assert folding.per_feature(np.ones((2, 1, 1, 8), np.float32), layer) is None
    assert folding.per_feature(row.astype(np.float64).reshape(1, 1, 1, 8), layer) is None


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", models.list_models())
def test_every_network(name):
    with cnn_jax.cpu.enabled():
        function, variables, x = _network(name)
        for calls in (False, True):
            _check(function, variables, x, calls=calls)
