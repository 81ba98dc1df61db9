"""First kernels for images of another number of channels."""

import jax
import numpy as np
import pytest

from cnn_jax import models, weights
from cnn_jax.train import state
from cnn_jax.weights import WeightsError


def by_timm(weight, channels):
    """timm's rule, on PyTorch's [O, 3, kH, kW]."""
    if channels == 1:
        return weight.sum(1, keepdims=True)
    repeated = np.tile(weight, (1, -(-channels // 3), 1, 1))[:, :channels]
    return repeated * (3 / channels)


def test_the_rule_is_timms():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)
    weight = kernel.transpose(3, 2, 0, 1)
    for channels in (1, 2, 3, 4, 5, 7):
        found = weights.adapt_channels(kernel, channels)
        want = by_timm(weight, channels).transpose(2, 3, 1, 0)
        np.testing.assert_allclose(found, want, rtol=1e-6)
        assert found.dtype == kernel.dtype
    spectra = weights.adapt_channels(np.ones((5, 1, 4)), 3)  # a sequence of one channel
    np.testing.assert_allclose(spectra, np.full((5, 3, 4), 1 / 3))
    for kernel, channels in ((np.ones((4, 8)), 4), (np.ones((3, 3, 3, 8)), 0)):
        with pytest.raises(ValueError, match=r"wanted that of a convolution"):
            weights.adapt_channels(kernel, channels)


def test_of_a_grey_image_a_network_sees_three_equal_colours(tmp_path):
    file = tmp_path / "a.safetensors"
    colours = models.create("squeezenet1_1", num_classes=5)
    spec = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    theirs = state.init_variables(colours, spec, seed=0)
    models.save_pretrained(file, "squeezenet1_1", theirs)
    model = models.create("squeezenet1_1", num_classes=5, in_channels=1)
    found = models.load_pretrained(str(file), "squeezenet1_1", model, adapt_input=True).variables
    conv1 = theirs["params"]["conv1"]
    grey = np.random.default_rng(0).random((7, 7, 1)).astype(np.float32)
    np.testing.assert_allclose(
        np.tensordot(grey[:3, :3], found["params"]["conv1"]["kernel"], 3),
        np.tensordot(np.repeat(grey, 3, -1)[:3, :3], conv1["kernel"], 3),
        atol=1e-5,
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        found["params"] | {"conv1": conv1},
        theirs["params"],
    )
    # without the request the difference is an error, and a template says the channels too
    with pytest.raises(WeightsError, match=r"features\.0\.weight is 64x3x3x3, .* wants 64x1x3x3"):
        models.load_pretrained(str(file), "squeezenet1_1", model)
    with pytest.raises(WeightsError, match="any number of channels, and there is no template"):
        models.load_pretrained(str(file), "squeezenet1_1", colours, adapt_input=True)
    again = models.load_pretrained(
        str(file), "squeezenet1_1", colours, template=found, adapt_input=True
    ).variables
    jax.tree.map(np.testing.assert_array_equal, again, found)


def test_the_first_kernels_of_networks():
    for name, path in (
        ("unet", "params/encoder0/conv1/kernel"),
        ("squeezenet1_1", "params/conv1/kernel"),
    ):
        model = models.create(name, num_classes=3, in_channels=2)
        assert models.input_paths(name, model) == {path}


def test_what_cannot_be_adapted_is_refused():
    model = models.create("mlp", in_channels=3)
    template = models.pretrained._shapes("mlp", model, 3)
    with pytest.raises(WeightsError, match=r"params/fc1/kernel .* is no kernel of a convolution"):
        models.pretrained.with_published_channels(
            template, models.pretrained._shapes("mlp", model), {"params/fc1/kernel"}
        )
