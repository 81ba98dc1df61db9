"""The table of layers: rows by hand, and totals that are those of the whole network."""

import flax.linen as nn
import jax.numpy as jnp
import pytest

from cnn_jax.analysis import flops, summary
from cnn_jax.models import create, describe


def test_lenet5_row_by_row():
    """LeCun 1998, section II.B: 156 weights in C1, 48,120 in C5, 10,164 in F6."""
    layers = summary.summarise(create("lenet5", num_classes=10), (32, 32, 1))
    rows = {layer.path: layer for layer in layers}
    assert rows["c1"] == ("c1", "Conv", (28, 28, 6), 156, 28 * 28 * 6 * 25)
    assert rows["c5"] == ("c5", "Conv", (1, 1, 120), 48_120, 120 * 16 * 25)
    assert rows["f6"] == ("f6", "Dense", (84,), 10_164, 120 * 84)
    assert rows["output"] == ("output", "Dense", (10,), 850, 840)
    assert rows[""].output == (10,)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("resnet8", "squeezenet1_1", "gru", "tcn"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mobilenet_v3_small", "wavenet", "googlenet")
        ),
    ],
)
def test_the_layers_add_up_to_the_network(name, remat):
    known = describe(name)
    model = create(name, num_classes=known.num_classes, remat=remat)
    total = summary.total(summary.summarise(model, known.input_shape))
    assert total["parameters"] == known.params
    assert total["multiply_adds"] == flops.model_multiply_adds(model, known.input_shape)


@pytest.mark.parametrize("remat", [False, True])
def test_costs_are_with_the_layer_that_has_them(remat):
    """Every convolution of a ResNet-18 has multiply-adds: outputs x kernel, no block or norm."""
    model = create("resnet18", num_classes=10, remat=remat)
    for layer in summary.summarise(model, (64, 64, 3)):
        assert (layer.multiply_adds > 0) == (layer.kind in ("Conv", "Dense")), layer


class Twice(nn.Module):
    """One module called twice, and a method that is not __call__."""

    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(3, name="shared")
        return self._end(shared(shared(x)))

    def _end(self, x):
        return x @ jnp.ones((3, 5))


def test_what_is_shared_counts_both_calls_and_one_set_of_weights():
    model = Twice()
    rows = {layer.path: layer for layer in summary.summarise(model, (3,))}
    assert (rows["shared"].parameters, rows["shared"].multiply_adds) == (12, 18)
    assert (rows[""].parameters, rows[""].multiply_adds) == (0, 15)


def test_as_text():
    text = summary.text(summary.summarise(create("lenet5", num_classes=10), (32, 32, 1)))
    assert "61,706" in text
    assert "28x28x6" in text
