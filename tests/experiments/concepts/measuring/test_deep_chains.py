"""Deep chains, against a library's layers."""

import flax.linen as nn
import jax
import numpy as np

from experiments.concepts.gradients import measure as gradients
from experiments.concepts.measuring.deep_chains import Chain, Convolution, without
from experiments.concepts.residual import measure as residual


def test_a_convolution_by_one_product_is_the_library_s():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    ours, theirs = Convolution(4, 2.0), nn.Conv(4, (3,))
    variables = ours.init(jax.random.key(0), x)
    weights = variables["params"]["window"]
    same = {"kernel": weights["kernel"].reshape(3, 3, 4), "bias": weights["bias"]}
    np.testing.assert_allclose(
        ours.apply(variables, x), theirs.apply({"params": same}, x), atol=1e-6
    )


def test_a_block_of_zeros_with_a_shortcut_is_none():
    x = np.random.default_rng(0).normal(size=(2, 40, 1)).astype(np.float32)
    model = Chain(3, residual=True)
    variables = jax.device_get(model.init(jax.random.key(0), x, train=False))
    weights = variables["params"]["blocks"]["second"]["window"]["kernel"]
    assert weights.shape == (3, 48, 16)
    zeroed = weights.copy()
    zeroed[1] = 0
    variables["params"]["blocks"]["second"]["window"]["kernel"] = zeroed
    whole = model.apply(variables, x, train=False)
    shorter = Chain(2, residual=True)
    np.testing.assert_allclose(
        shorter.apply(without(variables, 1), x, train=False), whole, atol=1e-5
    )
    other = shorter.apply(without(variables, 0), x, train=False)
    assert abs(np.asarray(other) - np.asarray(whole)).max() > 1e-3


def test_the_depths_of_the_two_sections_are_one():
    assert gradients.BLOCKS == residual.DEEP
    assert isinstance(Chain(gradients.BLOCKS), Chain)
