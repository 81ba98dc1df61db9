"""Receptive fields against published figures, and against what random networks depend on."""

from fractions import Fraction

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.analysis.dependence import named_intervals
from cnn_jax.analysis.receptive_field import (
    SIDES,
    ReceptiveField,
    effective_receptive_field,
    effective_side,
    receptive_fields,
)
from cnn_jax.layers import max_pool
from cnn_jax.models import create


class PooledStage(nn.Module):
    """The last stage of a network and the pooling that the published figures end with."""

    name_of: str
    stage: str
    window: int

    @nn.compact
    def __call__(self, x, *, train):
        x = create(self.name_of, num_classes=None)(x, train=train)[self.stage]
        return max_pool(x, self.window, stride=2)


# Araujo et al. 2019, doi:10.23915/distill.00021, table "Receptive fields of modern networks". Its
# ResNets have the stride in the last block of a stage, which sees as much as v1's first 1x1.
@pytest.mark.parametrize(
    ("model", "layer", "size"),
    [
        (PooledStage("alexnet", "conv5", 3), "", 195),
        (PooledStage("vgg16", "conv5", 2), "", 212),
        (create("resnet50_v1", num_classes=None), "layer4", 483),
        (create("resnet101_v1", num_classes=None), "layer4", 1027),
        pytest.param(
            create("resnet152_v1", num_classes=None), "layer4", 1507, marks=pytest.mark.slow
        ),
        (create("inception_v3", num_classes=None), "mixed7", 1311),
    ],
    ids=["alexnet", "vgg16", "resnet50", "resnet101", "resnet152", "inception_v3"],
)
def test_published_sizes(model, layer, size):
    assert receptive_fields(model)[layer].size == size


def test_vgg16_layer_by_layer():
    """The recurrence by hand: r += (k - 1) j for 3x3 at stride j, then r += j, j *= 2 to pool."""
    fields = receptive_fields(create("vgg16", num_classes=None))
    size, stride, start = 1, 1, 0
    for i, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for j in range(1, depth + 1):
            size, start = size + 2 * stride, start - stride
            assert fields[f"conv{i}_{j}"] == (size, stride, start)
        size, stride = size + stride, 2 * stride


def test_resnet50_along_both_axes_and_in_three_dimensions():
    model = create("resnet50_v1", num_classes=None)
    down, across = (receptive_fields(model, axis=axis)["layer4"] for axis in (0, 1))
    assert down == across == (483, 32, -241)
    model = create("resnet18", num_classes=None)
    assert receptive_fields(model, rank=3, axis=2)["layer4"].size == 435
    assert receptive_fields(model, rank=1, channels=1)["layer4"].size == 435


def test_remat_changes_nothing():
    fields = [receptive_fields(create("resnet18", num_classes=None, remat=r)) for r in (0, 1)]
    assert fields[0]["layer4"] == fields[1]["layer4"]
    assert fields[0]["layer3_1/conv2"] == fields[1]["layer3_1/conv2"]


def test_causal_and_dilated():
    fields = receptive_fields(create("tcn", num_classes=None), rank=1, channels=1)
    sees = 1 + 2 * 6 * (2**8 - 1)  # arXiv:1803.01271, section 3.2, two convolutions a block
    assert fields["block8"] == ReceptiveField(sees, Fraction(1), Fraction(1 - sees))


def test_where_a_mean_over_all_positions_stands_everything_is_seen():
    fields = receptive_fields(create("resnet8", num_classes=10), channels=1)
    assert fields["layer3_0/conv2"].size is not None
    assert fields["fc"].size is None
    fields = receptive_fields(create("gru", num_classes=None), rank=1, channels=1)
    assert fields["states"].size is None


def test_an_enlarging_layer_has_a_stride_below_one():
    layer = nn.ConvTranspose(3, (4, 4), strides=(2, 2))
    field = receptive_fields(layer)[""]
    assert (field.size, field.stride) == (2, Fraction(1, 2))


def test_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="axis=2: give one of the 2 spatial axes, 0 to 1"):
        receptive_fields(nn.Conv(1, (3, 3)), axis=2)


class RandomNetwork(nn.Module):
    """Layers of positive weights on the first spatial axis: nothing cancels, no ReLU is off."""

    layers: tuple

    @nn.compact
    def __call__(self, x):
        conv = lambda x, n, k, **o: nn.Conv(  # noqa: E731
            2, k, kernel_init=nn.initializers.constant(0.5), name=f"conv{n}", **o
        )(x)
        others = (1,) * (x.ndim - 3)
        for n, (kind, kernel, stride, dilation) in enumerate(self.layers):
            window, strides = (kernel, *others), (stride, *others)
            if kind == "conv":
                x = conv(x, n, window, strides=strides, kernel_dilation=(dilation, *others))
            elif kind == "valid":
                x = conv(x, n, window, strides=strides, padding="VALID")
            elif kind == "residual":
                branch = conv(x, n, window, kernel_dilation=(dilation, *others))
                x = x[..., :2] + nn.relu(branch)  # 'side by side' leaves more channels than two
            elif kind == "transpose":
                x = nn.ConvTranspose(
                    2, window, strides, kernel_init=nn.initializers.constant(0.5), name=f"up{n}"
                )(x)
            elif kind == "side by side":
                x = jnp.concatenate([x, conv(x, n, window)], -1)
            elif kind == "mean":
                x = nn.avg_pool(x, window, strides, padding="SAME")
            else:
                x = nn.max_pool(x, window, strides, padding="SAME")
        return x


LAYERS = st.tuples(
    st.sampled_from(["conv", "valid", "residual", "transpose", "side by side", "mean", "max"]),
    st.integers(1, 4),  # kernel
    st.integers(1, 3),  # stride
    st.integers(1, 3),  # dilation
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(layers=st.lists(LAYERS, min_size=1, max_size=4), rank=st.integers(1, 3))
def test_random_networks_depend_on_these_inputs_and_no_others(layers, rank):
    """Every output, the border included: by gradients, or by raising where the
    largest is taken."""
    model, side = RandomNetwork(tuple(layers)), 40
    x = jnp.ones((1, side, *(1,) * (rank - 1), 2))
    variables = model.init(jax.random.key(0), x)

    def outputs(inputs):  # [side] -> [side']
        y = model.apply(variables, x * inputs.reshape(1, side, *(1,) * rank))
        return y.sum((0, *range(2, y.ndim)))

    if any(kind == "max" for kind, *_ in layers):
        # all weights are positive: what sees the raised input rises (a vectorised maximum of XLA's
        # may lose a NaN)
        raised = 1 + 1e8 * jnp.eye(side)
        depends = np.asarray(jax.jit(jax.vmap(outputs))(raised) > 1.01 * outputs(jnp.ones(side))).T
    else:
        depends = np.asarray(jax.jit(jax.jacfwd(outputs))(jnp.ones(side))) != 0
    interval = named_intervals(jax.make_jaxpr(lambda x: model.apply(variables, x))(x), 0, 1)
    _, low, high, _ = interval["output 0"]
    assert len(low) == len(depends)
    for row, a, b in zip(depends, low, high, strict=True):
        seen = np.flatnonzero(row)
        if len(seen):
            assert (a, b) == (seen[0], seen[-1])
        else:
            assert a > b


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    layers=st.lists(
        LAYERS.filter(lambda layer: layer[0] in ("conv", "valid", "mean", "residual")),
        min_size=1,
        max_size=4,
    )
)
def test_random_networks_have_this_size_in_the_middle(layers):
    model, side = RandomNetwork(tuple(layers)), SIDES[0]
    field = receptive_fields(model, rank=1, channels=2)[""]
    x = jnp.ones((1, side, 2))
    variables = model.init(jax.random.key(0), x)
    weights = effective_receptive_field(model, variables, x)
    seen = np.flatnonzero(weights)
    assert seen[-1] - seen[0] + 1 == field.size
    middle = model.apply(variables, x).shape[1] // 2
    assert seen[0] == field.start + middle * field.stride


def test_effective_side_of_a_bell():
    """Two deviations either side hold 95.45% of a bell in one dimension."""
    place = np.arange(401) - 200
    bell = np.exp(-0.5 * (place / 20) ** 2)
    assert effective_side(bell / bell.sum()) == pytest.approx(4 * 20, abs=2)


def test_the_effective_field_of_stacked_convolutions_is_a_binomial():
    """Kernels of two equal weights: the gradient of n of them is row n of Pascal's triangle."""
    model = RandomNetwork((("valid", 2, 1, 1),) * 4)
    x = jnp.ones((1, 16, 2))
    weights = effective_receptive_field(model, model.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(weights[weights > 0] * 16, [1, 4, 6, 4, 1], rtol=1e-5)


def test_effective_needs_a_layer_in_space():
    model = create("mnist1d_cnn", num_classes=10)
    x = jnp.ones((1, 40, 1))
    variables = model.init(jax.random.key(0), x, train=False)
    assert effective_receptive_field(model, variables, x, layer="conv3").shape == (40,)
    with pytest.raises(ValueError, match="no spatial axes"):
        effective_receptive_field(model, variables, x)
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        effective_receptive_field(model, variables, x, layer="conv9")


class Padded(nn.Module):
    """Three 3x3 convolutions, a stride of 2 in the second, with a padding made of other inputs."""

    mode: str

    @nn.compact
    def __call__(self, x):
        for n in range(3):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=self.mode)
            x = nn.Conv(4, (3, 3), 1 + n % 2, padding="VALID", name=f"conv{n}")(x)
        return x


@pytest.mark.parametrize("mode", ["wrap", "reflect", "symmetric", "edge"])
def test_padding_by_other_inputs_is_padding(mode):
    """At the border an output sees both ends of the image, or one of them twice: the field is that
    of the outputs within, and the same as with zeros."""
    assert receptive_fields(Padded(mode)) == receptive_fields(Padded("constant"))


def test_circular_convolutions_of_flax_and_a_shifted_image():
    class Circular(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(2, (3, 3), padding="CIRCULAR", name="conv")(x)
            return jnp.roll(nn.Conv(2, (5, 5), padding="CIRCULAR", name="conv2")(x), 4, axis=1)

    fields = receptive_fields(Circular())
    assert fields["conv"] == (3, 1, -1)
    assert fields["conv2"] == (7, 1, -3)
    assert fields[""] == (7, 1, -7)


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Conv(3, (3, 3), name="conv")(x), x


class Scanned(nn.Module):
    """Three convolutions as a scan over their parameters."""

    @nn.compact
    def __call__(self, x):
        axes, keys = {"params": 0}, {"params": True}
        scan = nn.scan(Step, variable_axes=axes, split_rngs=keys, length=3)
        return scan(name="steps")(x, None)


def test_a_scan_over_layers_is_each_of_them():
    fields = receptive_fields(Scanned())
    assert fields["0"] == (7, 1, -3)
    assert fields["1"].size == 5  # what went into the last of them, beside earlier ones


def test_a_scan_over_positions_sees_all():
    def run(x):  # [B, T, C]
        total, rows = jax.lax.scan(lambda c, row: (c + row, c), x[:, 0], x.swapaxes(0, 1))
        return total, rows

    intervals = named_intervals(jax.make_jaxpr(run)(jnp.ones((1, 8, 2))), 0, 1)
    assert all((each.low[0], each.high[0]) == (0, 7) for each in intervals.values())
