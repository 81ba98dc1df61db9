"""conv, ConvNormAct and batch_norm against NumPy, and their gradients against numerical ones."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import ConvNormAct, batch_norm, conv, per_axis, variance_scaling


class Conv(nn.Module):
    """`conv` alone, in a module."""

    arguments: dict

    @nn.compact
    def __call__(self, x):
        return conv(x, name="conv", **self.arguments)


def convolve(x, kernel, bias, *, stride, dilation, groups, padding):
    """The definition: at every output position, the sum over the window and its channels."""
    rank = x.ndim - 2
    x = np.pad(x, [(0, 0), *[(padding, padding)] * rank, (0, 0)])
    sizes, inputs, outputs = kernel.shape[:-2], kernel.shape[-2], kernel.shape[-1]
    extents = [dilation * (k - 1) + 1 for k in sizes]
    space = [(n - e) // stride + 1 for n, e in zip(x.shape[1:-1], extents, strict=True)]
    y = np.zeros((x.shape[0], *space, outputs))
    for at in itertools.product(*map(range, space)):
        window = tuple(
            slice(i * stride, i * stride + e, dilation) for i, e in zip(at, extents, strict=True)
        )
        for out in range(outputs):
            group = out // (outputs // groups)
            channels = slice(group * inputs, (group + 1) * inputs)
            patch = x[(slice(None), *window, channels)]
            y[(slice(None), *at, out)] = (patch * kernel[..., out]).sum(tuple(range(1, rank + 2)))
    return y + bias


CASES = [
    # rank, size, kernel, stride, dilation, groups
    (1, 9, 5, 2, 1, 1),
    (2, 8, 3, 1, 1, 1),
    (2, 8, 3, 2, 1, 1),
    (2, 7, 3, 2, 1, 2),
    (2, 8, 7, 2, 1, 1),
    (2, 8, 3, 1, 2, 1),
    (2, 8, 5, 2, 1, 4),
    (2, 8, 1, 2, 1, 1),
    (3, 5, 3, 2, 1, 2),
]


@pytest.mark.parametrize(("rank", "size", "kernel", "stride", "dilation", "groups"), CASES)
def test_conv_is_the_definition_with_symmetric_padding(
    rank, size, kernel, stride, dilation, groups
):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *[size] * rank, 4)).astype("float32")
    weight = rng.normal(size=(*[kernel] * rank, 4 // groups, 8)).astype("float32")
    bias = rng.normal(size=8).astype("float32")
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    layer = Conv({"features": 8, "kernel": kernel, "use_bias": True, **options})
    y = layer.apply({"params": {"conv": {"kernel": weight, "bias": bias}}}, x)
    expected = convolve(x, weight, bias, padding=dilation * (kernel - 1) // 2, **options)
    assert y.shape[1:-1] == (-(-size // stride),) * rank
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rank", "size", "kernel", "stride", "dilation", "groups"), CASES)
def test_conv_gradient_is_the_numerical_one(rank, size, kernel, stride, dilation, groups):
    with jax.enable_x64(True):
        layer = Conv(
            {
                "features": 4,
                "kernel": kernel,
                "stride": stride,
                "dilation": dilation,
                "groups": groups,
            }
        )
        x = jax.random.normal(jax.random.key(0), (1, *[size] * rank, 4))
        variables = jax.tree.map(jnp.float64, layer.init(jax.random.key(1), x))
        check_grads(jax.jit(layer.apply), (variables, x), order=1, modes=["rev"], rtol=1e-5)


def test_same_padding_differs_at_stride_two():
    """The reason for our own padding: TensorFlow's puts the window one pixel to the right."""
    x = jnp.arange(8.0).reshape(1, 8, 1)
    weight = {"params": {"conv": {"kernel": jnp.array([1.0, 0.0, 0.0]).reshape(3, 1, 1)}}}
    ours = Conv({"features": 1, "kernel": 3, "stride": 2}).apply(weight, x)
    same = Conv({"features": 1, "kernel": 3, "stride": 2, "padding": "SAME"}).apply(weight, x)
    np.testing.assert_array_equal(ours.ravel(), [0, 1, 3, 5])
    np.testing.assert_array_equal(same.ravel(), [0, 2, 4, 6])


def test_per_axis():
    assert per_axis(3, 2) == (3, 3)
    assert per_axis((1, 3, 3), 3) == (1, 3, 3)
    with pytest.raises(ValueError, match=r"\(1, 3, 3\) has 3 entries for 2 spatial axes"):
        per_axis((1, 3, 3), 2)


def test_batch_norm_normalises_and_remembers():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (4, 5, 5, 2)).astype("float32")
    norm = batch_norm(True, momentum=0.9, epsilon=1e-3)(name="norm")
    variables = norm.init(jax.random.key(0), x)
    y, updated = norm.apply(variables, x, mutable="batch_stats")
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-3), atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_conv_norm_act_gradient_is_the_numerical_one(train):
    with jax.enable_x64(True):
        # Softplus rather than ReLU: smooth, as numerical derivatives want it.
        unit = ConvNormAct(4, stride=2, groups=2, norm=batch_norm(train), act=nn.softplus)
        x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
        variables = jax.tree.map(jnp.float64, unit.init(jax.random.key(1), x))
        statistics = {"batch_stats": variables["batch_stats"]}

        def apply(params, x):
            return unit.apply({"params": params, **statistics}, x, mutable="batch_stats")[0]

        check_grads(jax.jit(apply), (variables["params"], x), order=1, modes=["rev"], rtol=1e-5)


def test_conv_norm_act_is_its_three_parts():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    unit = ConvNormAct(8, norm=batch_norm(False))
    variables = unit.init(jax.random.key(1), x)
    inner = Conv({"features": 8, "kernel": 3}).apply(
        {"params": {"conv": variables["params"]["conv"]}}, x
    )
    # Fresh statistics: mean 0, variance 1.
    np.testing.assert_allclose(
        unit.apply(variables, x), np.maximum(inner / np.sqrt(1 + 1e-5), 0), atol=1e-6
    )
    bare = ConvNormAct(8, norm=batch_norm(False), act=None).apply(variables, x)
    assert (np.asarray(bare) < 0).any()


def test_parameters_stay_float32_under_bfloat16():
    unit = ConvNormAct(8, norm=partial(batch_norm(True), dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    x = jnp.ones((2, 4, 4, 3))
    y, variables = unit.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("shape", [(3, 3, 5, 7), (12, 9), (5, 1, 16), (2, 3, 4, 2, 3)])
def test_the_initialiser_draws_what_flax_draws(shape, mode, distribution):
    ours = variance_scaling(2.0, mode, distribution)(jax.random.key(3), shape)
    flaxs = nn.initializers.variance_scaling(2.0, mode, distribution)(jax.random.key(3), shape)
    np.testing.assert_allclose(ours, flaxs, rtol=1e-6)  # the order of two multiplications


def test_an_initialiser_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"'fan_avg'.*'fan_in' or 'fan_out'"):
        variance_scaling(1.0, "fan_avg", "normal")
    with pytest.raises(ValueError, match=r"\[\*window, in, out\].*\[7\]"):
        variance_scaling(1.0, "fan_in", "normal")(jax.random.key(0), (7,))
