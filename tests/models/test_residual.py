"""What the residual networks do: strides, dilation, shortcuts, dimensions, remat, randomness."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import StochasticDepth
from cnn_jax.models import create
from cnn_jax.models.resnet import BasicBlock, Bottleneck
from cnn_jax.models.resnet_cifar import CifarBlock


def shapes(name: str, x_shape: tuple[int, ...], **overrides):
    """Shapes of the stages, or of the logits where num_classes is given."""
    overrides = {"num_classes": None, **overrides}
    init = partial(create(name, **overrides).init_with_output, train=False)
    outputs, _ = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct(x_shape, jnp.float32))
    return jax.tree.map(lambda leaf: leaf.shape, outputs)


def sides(name: str, size: int, **overrides) -> list[int]:
    return [shape[1] for shape in shapes(name, (1, size, size, 3), **overrides).values()]


def test_strides_of_the_stages():
    assert sides("resnet18", 64) == [32, 16, 8, 4, 2]
    assert sides("resnet18", 32, stem="small") == [32, 32, 16, 8, 4]
    assert sides("resnet50_v2", 64) == [32, 16, 8, 4, 2]
    assert sides("resnet20", 32) == [32, 16, 8]
    assert sides("wrn_16_4", 32) == [32, 16, 8]
    assert sides("resnet9", 32) == [32, 16, 8, 4]


def test_output_stride():
    assert sides("resnet50", 64, output_stride=16) == [32, 16, 8, 4, 4]
    assert sides("resnet50", 64, output_stride=8) == [32, 16, 8, 8, 8]
    assert sides("mobilenet_v3_large", 64, output_stride=16)[-1] == 4
    assert sides("mobilenet_v3_small", 64, output_stride=8)[-1] == 8


@pytest.mark.parametrize(
    ("name", "output_stride", "step"),
    [
        ("resnet18", 8, 4),
        *(
            pytest.param(*of, marks=pytest.mark.slow)
            for of in (("resnet18", 16, 2), ("resnet50", 16, 2), ("resnet50", 8, 4))
        ),
    ],
)
def test_dilation_computes_the_same_features_and_those_between(name, output_stride, step):
    """The holes keep the strided network's grid: every second feature is exactly its feature.

    arXiv:1606.00915, section 3.1. It holds only if the first block of a dilated stage keeps the
    dilation of the stage before.
    """
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    sizes = {"num_classes": None, "stage_sizes": (1, 1, 2, 2), "zero_init_residual": False}
    strided = create(name, **sizes)
    dilated = create(name, output_stride=output_stride, **sizes)
    variables = jax.jit(partial(strided.init, train=False))(jax.random.key(1), x)
    coarse = jax.jit(partial(strided.apply, train=False))(variables, x)["layer4"]
    dense = jax.jit(partial(dilated.apply, train=False))(variables, x)["layer4"]
    np.testing.assert_allclose(dense[:, ::step, ::step], coarse, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "resnet110_v2", "wrn_16_4"])
@pytest.mark.parametrize("rank", [1, 3])
def test_one_and_three_dimensions(name, rank):
    stages = shapes(name, (2, *(16,) * rank, 4))
    assert all(len(shape) == rank + 2 for shape in stages.values())
    assert shapes(name, (2, *(16,) * rank, 4), num_classes=5) == (2, 5)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck, CifarBlock])
def test_a_block_starts_as_the_identity(block):
    """Goyal 2017, section 5.1: the last scale of a branch is zero."""
    norm = partial(nn.BatchNorm, use_running_average=True)
    planes = 8 // getattr(block, "expansion", 1)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    y, _ = block(planes, norm=norm).init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    y, _ = block(planes, norm=norm, zero_init_residual=False).init_with_output(jax.random.key(1), x)
    assert np.abs(np.asarray(y) - np.maximum(x, 0)).max() > 0.1


def test_option_a_takes_every_second_pixel_and_adds_zero_channels():
    norm = partial(nn.BatchNorm, use_running_average=True)
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    y, variables = CifarBlock(8, stride=2, norm=norm).init_with_output(jax.random.key(1), x)
    expected = np.zeros((2, 3, 3, 8))
    expected[..., 2:6] = np.maximum(x, 0)[:, ::2, ::2]
    np.testing.assert_array_equal(y, expected)  # the branch is zero at first
    assert set(variables["params"]) == {"conv1", "bn1", "conv2", "bn2"}
    block = CifarBlock(8, stride=2, shortcut="B", norm=norm)
    assert "downsample_conv" in block.init(jax.random.key(1), x)["params"]


def test_v1_has_its_stride_on_the_first_convolution():
    def strides(stride_on_1x1: bool) -> dict[str, int]:
        seen = {}

        def record(call, args, kwargs, context):
            if isinstance(context.module, nn.Conv):
                seen[context.module.name] = context.module.strides[0]
            return call(*args, **kwargs)

        norm = partial(nn.BatchNorm, use_running_average=True)
        block = Bottleneck(4, stride=2, stride_on_1x1=stride_on_1x1, norm=norm)
        with nn.intercept_methods(record):
            jax.eval_shape(block.init, jax.random.key(0), jnp.ones((1, 8, 8, 16)))
        return seen

    assert strides(False) == {"conv1": 1, "conv2": 2, "conv3": 1, "downsample_conv": 2}
    assert strides(True) == {"conv1": 2, "conv2": 1, "conv3": 1, "downsample_conv": 2}


def test_remat_changes_no_number():
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    plain = create("resnet8", num_classes=10, zero_init_residual=False)
    variables = jax.jit(partial(plain.init, train=False))(jax.random.key(1), x)

    def gradient(model: nn.Module):
        def loss(params):
            return model.apply(
                {**variables, "params": params}, x, train=True, mutable="batch_stats"
            )[0].std()

        return jax.jit(jax.grad(loss))(variables["params"])

    recomputed = create("resnet8", num_classes=10, zero_init_residual=False, remat=True)
    for one, two in zip(
        jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(recomputed)), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet20", "resnet50_v2", "wrn_16_4", "convnext_tiny"]
)
def test_stochastic_depth_rises_linearly(name):
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, StochasticDepth):
            rates.append(context.module.rate)
        return call(*args, **kwargs)

    model = create(name, num_classes=10, stochastic_depth_rate=0.5)
    with nn.intercept_methods(record):
        jax.eval_shape(
            partial(model.init, train=False), jax.random.key(0), jnp.ones((1, 32, 32, 3))
        )
    np.testing.assert_allclose(rates, np.linspace(0, 0.5, len(rates)))


def test_training_draws_and_evaluation_does_not():
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    model = create("resnet8", num_classes=3, stochastic_depth_rate=0.5, drop_rate=0.5)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), x)

    @partial(jax.jit, static_argnames="train")
    def logits(seed, train):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, x, train=train, rngs=rngs, mutable="batch_stats")[0]

    assert (logits(0, True) != logits(1, True)).any()
    np.testing.assert_array_equal(logits(0, True), logits(0, True))
    np.testing.assert_array_equal(logits(0, False), logits(1, False))


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("resnet18", {"stem": "cifar"}, "stem='cifar': give 'imagenet' or 'small'"),
        ("resnet18", {"groups": 32}, "need block=Bottleneck"),
        ("resnet20", {"shortcut": "C"}, "shortcut='C': give 'A' or 'B'"),
        ("wrn_16_4", {"depth": 17}, r"depth=17: give 6n \+ 4"),
        ("resnet18", {"stochastic_depth_rate": 1.5}, "stochastic_depth_rate=1.5: give"),
    ],
)
def test_wrong_fields(name, field, message):
    with pytest.raises(ValueError, match=message):
        shapes(name, (1, 32, 32, 3), **field)


@pytest.mark.parametrize(
    ("name", "size", "minimum"), [("lenet5", 27, 28), ("resnet9", 7, 8), ("convnext_tiny", 31, 32)]
)
def test_an_image_that_is_too_small(name, size, minimum):
    shapes(name, (1, minimum, minimum, 1))
    with pytest.raises(ValueError, match=f"{size} pixels to nothing; it takes sides of {minimum}"):
        shapes(name, (1, minimum, size, 1))
