"""Multiply-adds, against counts by hand and the figures torchvision publishes."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.analysis.flops import model_multiply_adds, multiply_adds
from cnn_jax.models import create, describe, list_models

X = jax.ShapeDtypeStruct((2, 16, 16, 8), jnp.float32)


def conv(x, kernel, **options):
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def kernel(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_layers_by_hand():
    strided = {"window_strides": (2, 2), "padding": "SAME"}
    # [2, 8, 8, 12] outputs, each from 3 x 3 x 8 inputs.
    assert multiply_adds(lambda x, k: conv(x, k, **strided), X, kernel(3, 3, 8, 12)) == (
        2 * 8 * 8 * 12 * 9 * 8
    )
    grouped = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 8}
    assert multiply_adds(lambda x, k: conv(x, k, **grouped), X, kernel(5, 5, 1, 8)) == (
        2 * 16 * 16 * 8 * 25
    )
    # Transposed, stride 2: every input meets every weight once.
    assert multiply_adds(
        lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), "SAME"), X, kernel(2, 2, 8, 4)
    ) == (2 * 16 * 16 * 8 * 4 * 4)
    assert multiply_adds(jnp.matmul, kernel(7, 5, 3), kernel(7, 3, 2)) == 7 * 5 * 3 * 2
    assert multiply_adds(lambda x: jnp.tanh(x + 1).sum(), X) == 0


def test_control_flow():
    a = kernel(4, 4)
    product = lambda a: a @ a  # noqa: E731
    assert multiply_adds(lambda a: jax.lax.fori_loop(0, 5, lambda i, b: b @ a, a), a) == 5 * 64
    assert multiply_adds(lambda a: jax.lax.cond(True, product, lambda a: a, a), a) == 64
    assert multiply_adds(jax.jit(jax.checkpoint(product)), a) == 64
    custom = jax.custom_vjp(product)
    custom.defvjp(lambda a: (a @ a, a), lambda a, g: (g @ a,))
    assert multiply_adds(custom, a) == 64


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"window_strides": (1, 1), "padding": "VALID"}, (3, 3, 8, 12)),
        ({"window_strides": (2, 2), "padding": "SAME"}, (3, 3, 8, 12)),
        ({"window_strides": (3, 1), "padding": ((2, 0), (1, 4))}, (5, 2, 8, 4)),
        ({"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4}, (5, 5, 2, 8)),
        ({"window_strides": (1, 2), "padding": "SAME", "rhs_dilation": (2, 3)}, (3, 3, 8, 4)),
        (
            {"window_strides": (1, 1), "padding": ((1, 1), (2, 0)), "lhs_dilation": (2, 3)},
            (3, 2, 8, 4),
        ),
    ],
)
def test_a_convolution_is_what_xla_counts(options, shape):
    """XLA counts two for a multiply-add, and none where a tap meets padding."""
    function = lambda x, k: conv(x, k, **options)  # noqa: E731
    xla = jax.jit(function).lower(X, kernel(*shape)).cost_analysis()["flops"]
    assert multiply_adds(function, X, kernel(*shape), count_padding=False) == xla / 2


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [
        ("vgg16", (224, 224, 3)),
        ("alexnet", (224, 224, 3)),
        ("resnet18", (224, 224, 3)),
        ("wavenet", (256, 1)),
    ],
)
def test_a_network_is_what_xla_counts(name, input_shape):
    """Within 1 %: XLA also counts biases, activations and pooling."""
    model = create(name, num_classes=10)
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    lowered = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, x)
    counted = model_multiply_adds(model, input_shape, count_padding=False)
    assert counted == pytest.approx(lowered.cost_analysis()["flops"] / 2, rel=0.01)


QUICK = ("alexnet", "resnet18", "mobilenet_v3_small", "squeezenet1_1", "r3d_18", "vgg16_bn")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in list_models()
        if "torchvision" in describe(name).rules and not name.endswith("_v1")
    ],
)
def test_published_figures(name):
    """torchvision's `_ops`, which it rounds to a thousandth of 10^9."""
    described = describe(name)
    model = create(name, num_classes=described.num_classes)
    counted = model_multiply_adds(model, described.input_shape) / 1e9
    assert counted == pytest.approx(described.gmacs, rel=0.01, abs=0.0006)


def test_a_transposed_convolution_costs_its_input_times_its_kernel():
    """Each input is multiplied with each tap: that is the count of the convolution whose gradient
    it is, and of fvcore and ptflops."""
    for side, taps, stride in itertools.product((1, 4), (1, 2, 3, 5), (1, 2, 3)):
        x = jax.ShapeDtypeStruct((2, side, 8, 4), jnp.float32)
        k = kernel(taps, 3, 4, 6)
        for padding in ("VALID", "SAME", [(taps - 1, taps - 1), (1, 1)]):
            up = lambda x, k, p=padding, s=stride: jax.lax.conv_transpose(x, k, (s, 1), p)  # noqa: E731
            assert multiply_adds(up, x, k) == 2 * side * 8 * taps * 3 * 4 * 6


def test_the_gradient_of_the_input_costs_what_the_convolution_does():
    forward = lambda x, k: conv(x, k, window_strides=(2, 1), padding="VALID")  # noqa: E731
    back = lambda x, k: jax.vjp(lambda x: forward(x, k), x)[1](forward(x, k))  # noqa: E731
    once = multiply_adds(forward, X, kernel(3, 2, 8, 12))
    assert multiply_adds(back, X, kernel(3, 2, 8, 12)) == 3 * once  # twice forward, once back
