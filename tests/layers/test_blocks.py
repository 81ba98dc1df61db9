"""SqueezeExcite, InvertedResidual, StochasticDepth against their formulas; gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import (
    InvertedResidual,
    SqueezeExcite,
    StochasticDepth,
    batch_norm,
    linear_rates,
    require_size,
    round_channels,
)


def test_squeeze_excite_is_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    layer = SqueezeExcite(2)
    params = layer.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases that matter
    w1, w2 = (np.asarray(params[name]["kernel"])[0, 0] for name in ("fc1", "fc2"))
    b1, b2 = (np.asarray(params[name]["bias"]) for name in ("fc1", "fc2"))
    hidden = np.maximum(x.mean((1, 2)) @ w1 + b1, 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2 + b2)))  # [B, C]
    y = layer.apply({"params": params}, x)
    np.testing.assert_allclose(y, x * gate[:, None, None, :], rtol=1e-5, atol=1e-6)


def test_squeeze_excite_gradient_is_the_numerical_one():
    with jax.enable_x64(True):
        layer = SqueezeExcite(2, act=nn.silu)
        x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
        variables = jax.tree.map(jnp.float64, layer.init(jax.random.key(1), x))
        check_grads(jax.jit(layer.apply), (variables, x), order=1, modes=["rev"], rtol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_inverted_residual_gradient_is_the_numerical_one(kernel, stride):
    with jax.enable_x64(True):
        block = InvertedResidual(
            4,
            8,
            kernel=kernel,
            stride=stride,
            squeezed=2,
            act=nn.silu,
            squeeze_act=nn.silu,
            norm=batch_norm(False),
        )
        x = jax.random.normal(jax.random.key(0), (1, 5, 5, 4))
        variables = jax.tree.map(jnp.float64, block.init(jax.random.key(1), x))
        check_grads(jax.jit(block.apply), (variables, x), order=1, modes=["rev"], rtol=1e-5)


def test_inverted_residual_without_its_branch_is_the_shortcut():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))

    def output(features: int, stride: int):
        block = InvertedResidual(features, 16, stride=stride, norm=batch_norm(False))
        variables = block.init(jax.random.key(1), x)
        scale = variables["params"]["project"]["norm"]["scale"]
        variables["params"]["project"]["norm"]["scale"] = jnp.zeros_like(scale)
        return block.apply(variables, x)

    np.testing.assert_array_equal(output(8, 1), x)
    assert not output(8, 2).any()  # no shortcut across a stride
    assert not output(4, 1).any()  # nor to another width


def test_inverted_residual_expands_only_where_there_is_something_to_expand():
    x = jnp.ones((1, 4, 4, 8))
    names = [
        set(InvertedResidual(8, width, norm=batch_norm(False)).init(jax.random.key(0), x)["params"])
        for width in (8, 16)
    ]
    assert names == [{"depthwise", "project"}, {"expand", "depthwise", "project"}]


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = jnp.ones((20_000, 3))
    layer = StochasticDepth(rate=0.3, deterministic=False)
    y = np.asarray(layer.apply({}, x, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (y == y[:, :1]).all()
    # Standard error of the share kept: sqrt(0.3 * 0.7 / 20,000) = 0.0032; four of them.
    assert abs((y[:, 0] == 0).mean() - 0.3) < 0.013
    assert abs(y.mean() - 1) < 0.013 / 0.7


def test_stochastic_depth_is_the_identity_in_evaluation_and_at_rate_zero():
    x = jax.random.normal(jax.random.key(0), (4, 3))
    np.testing.assert_array_equal(StochasticDepth(0.9, True).apply({}, x), x)
    np.testing.assert_array_equal(StochasticDepth(0.0, False).apply({}, x), x)


def test_linear_rates():
    np.testing.assert_allclose(linear_rates(0.2, 5), [0, 0.05, 0.1, 0.15, 0.2])
    assert linear_rates(0.2, 1) == [0]
    with pytest.raises(ValueError, match=r"stochastic_depth_rate=1\.0: give"):
        linear_rates(1.0, 3)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    # Of width multipliers 0.5, 0.75 and 1.4 on MobileNetV2's 24, 32, 1280; 12 would lose over 10%.
    [(12, 16), (18, 24), (16, 16), (24, 24), (44.8, 48), (1792, 1792), (3, 8), (11, 16)],
)
def test_round_channels(channels, rounded):
    assert round_channels(channels) == rounded


def test_require_size_names_the_sizes():
    require_size(jnp.ones((1, 32, 40, 3)), 32, "ConvNeXt")
    with pytest.raises(
        ValueError, match=r"ConvNeXt reduces an image of 40x31 pixels .* of 32 pixels"
    ):
        require_size(jnp.ones((1, 40, 31, 3)), 32, "ConvNeXt")
